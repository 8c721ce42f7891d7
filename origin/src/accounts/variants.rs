//! Names for accounts whose owners could not choose one.

use super::names::fold_username;

/// How many numbers are tried before chance is.
const NUMBERED: u32 = 9;
/// How many names of chance are tried.
const BY_CHANCE: u32 = 8;
/// The longest ending, in characters.
const ENDING: usize = 11;

/// Names like the one that is wished for, the closest first: itself, with a number, with a number of
/// chance. If it can be no name here, not even as what stands before its `@`, they are made of
/// `fallback`.
pub fn variants(wished: &str, fallback: &str, mut chance: impl FnMut() -> u32) -> impl Iterator<Item = String> {
    let local = wished.split_once('@').map(|(local, _)| local);
    let base = [Some(wished), local, Some(fallback)].into_iter().flatten().find_map(|name| fold_username(name).ok());
    let base = base.unwrap_or_else(|| "user".to_owned());
    // As long as it may be with an ending; at most a quarter of the bytes of a name are one character's.
    let longest = if base.is_ascii() { 64 - ENDING } else { 60 - ENDING };
    let short: String = base.chars().take(longest).collect();
    let numbered = (2..=NUMBERED).map(|number| number.to_string());
    let by_chance = (0..BY_CHANCE).map(move |_| chance().to_string());
    let others = numbered.chain(by_chance).filter_map(move |ending| fold_username(&format!("{short}-{ending}")).ok());
    std::iter::once(base).chain(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_close_to_what_was_wished() {
        let first = |wished: &str| variants(wished, "work", || 7).take(3).collect::<Vec<_>>();
        assert_eq!(first("Ada"), ["ada", "ada-2", "ada-3"]);
        assert_eq!(first("ada@example.com"), ["ada", "ada-2", "ada-3"]);
        assert_eq!(first("张伟"), ["张伟", "张伟-2", "张伟-3"]);
        for odd in ["", "a", "Ada Lovelace", "аda", "a\u{202e}da", "🙂🙂🙂", "@"] {
            assert_eq!(first(odd), ["work", "work-2", "work-3"], "{odd:?}");
        }
    }

    #[test]
    fn every_variant_is_a_name_and_they_end() {
        for wished in ["a".repeat(64), "张".repeat(64), "אבג".to_owned(), "𠀀".repeat(60), "हिन्दी".to_owned()]
        {
            let all: Vec<String> = variants(&wished, "work", || u32::MAX).collect();
            assert!((9..=17).contains(&all.len()), "{all:?}");
            for name in &all {
                assert_eq!(fold_username(name).as_deref(), Ok(name.as_str()));
            }
        }
    }
}
