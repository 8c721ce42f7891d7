//! Usernames in any script: one form in which they are kept and compared (RFC 8265, section 3.3,
//! UsernameCaseMapped), and no two that look alike (UTS 39).

use precis_profiles::UsernameCaseMapped;
use precis_profiles::precis_core::profile::PrecisFastInvocation as _;
use unicode_normalization::char::is_combining_mark;
use unicode_security::{GeneralSecurityProfile as _, RestrictionLevel, RestrictionLevelDetection as _};

/// Longest name, in characters and in bytes.
const MAX_CHARACTERS: usize = 64;
const MAX_BYTES: usize = 256;
/// Marks on one letter; Vietnamese needs two.
const MAX_MARKS: usize = 3;

/// A username in the one form in which it is kept and compared, or what is wrong with it.
///
/// # Errors
/// A sentence for the client.
pub fn fold_username(name: &str) -> Result<String, &'static str> {
    const LENGTH: &str = "username must have 2 to 64 characters, or 3 if it has only a-z, 0-9, `.`, `_` and `-`.";
    // The profile composes, so what is far too long cannot become short enough.
    if name.len() > MAX_BYTES * 4 {
        return Err(LENGTH);
    }
    let folded = UsernameCaseMapped::enforce(name).map_err(|_| match name.is_empty() {
        true => LENGTH,
        false => "username may have letters and digits of one script, `.`, `_` and `-` only.",
    })?;
    if !folded.chars().all(is_good) {
        return Err("username may have letters, digits, `.`, `_` and `-` only.");
    }
    let characters = folded.chars().count();
    if characters < 2 || folded.len() < 3 || characters > MAX_CHARACTERS || folded.len() > MAX_BYTES {
        return Err(LENGTH);
    }
    if has_odd_marks(&folded) {
        return Err("username has accents that belong to no letter, or too many on one.");
    }
    if !folded.as_ref().check_restriction_level(RestrictionLevel::HighlyRestrictive) {
        return Err("username mixes letters of several scripts.");
    }
    Ok(folded.into_owned())
}

/// What a folded username looks like (UTS 39, section 4): names that look alike have the same.
pub fn skeleton(folded: &str) -> String {
    unicode_security::skeleton(folded).collect()
}

/// Letters, digits and marks that names are commonly written with (UTS 39, section 3.1). Joiners
/// are among those, too, but cannot be seen.
fn is_good(character: char) -> bool {
    match character {
        '\u{200c}' | '\u{200d}' => false,
        '.' | '_' | '-' => true,
        _ if character.is_ascii() => character.is_ascii_lowercase() || character.is_ascii_digit(),
        _ => character.identifier_allowed(),
    }
}

/// Marks at the beginning, too many on one letter, or a dot above that has no letter of its own
/// with it: on an i it would not be seen (UTS 39, section 5.4).
fn has_odd_marks(name: &str) -> bool {
    let mut run = MAX_MARKS;
    name.chars().any(|character| {
        run = if is_combining_mark(character) { run + 1 } else { 0 };
        run > MAX_MARKS || character == '\u{307}'
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usernames_have_one_form() {
        for (given, kept) in [
            ("Ada", "ada"),
            ("ＡＤＡ９", "ada9"),
            ("a.b_c-d", "a.b_c-d"),
            ("张伟", "张伟"),
            ("José", "josé"),
            ("Jose\u{301}", "josé"),
            ("Ωμέγα", "ωμέγα"),
            ("हिन्दी", "हिन्दी"),
            ("דוד", "דוד"),
            ("Nguyễn", "nguyễn"),
            ("山田たろう-x", "山田たろう-x"),
        ] {
            assert_eq!(fold_username(given).as_deref(), Ok(kept));
            assert_eq!(fold_username(kept).as_deref(), Ok(kept));
        }
    }

    #[test]
    fn what_misleads_is_refused() {
        let long = ["a".repeat(65), "张".repeat(65), "e\u{301}".repeat(1000)];
        let short_and_odd = ["", "ab", "张", "ada lovelace", "ada\0", "ada/..", "a\u{200d}da", "a\u{202e}da", "ada!"];
        let mixed =
            ["аda", "αda", "张伟ж", "İvan", "a\u{301}\u{301}\u{301}\u{301}\u{301}da", "\u{301}ada", "Ⓐⓑⓒ", "ﬁsh"];
        for refused in long.iter().map(String::as_str).chain(short_and_odd).chain(mixed) {
            assert!(fold_username(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn names_that_look_alike_have_one_skeleton() {
        for (one, other) in [("mary", "rnary"), ("scope", "ѕсоре"), ("adal", "ada1"), ("καιρος", "καιρoς")]
        {
            assert_eq!(skeleton(one), skeleton(other), "{one} {other}");
        }
        for (one, other) in [("ada", "adb"), ("张伟", "张炜"), ("jose", "josé")] {
            assert_ne!(skeleton(one), skeleton(other));
        }
    }
}
