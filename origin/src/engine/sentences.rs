//! Cutting a long text into pieces that an engine can speak in one go.

/// Cost of a letter of an alphabet; see [`weight`].
const NARROW: usize = 1;
/// Cost of a Han character, a syllable sign or a digit.
const WIDE: usize = 3;
/// So much is said in a second.
const COST_A_SECOND: f64 = 12.0;

/// Longest control token, `[vocalized-noise]`, and some room.
const MAX_TOKEN_BYTES: usize = 24;

/// Cuts `text` into pieces that cost at most `budget` each, where three letters of an alphabet
/// cost as much as one Han character, because they take about as long to say.
///
/// Cuts at the end of a sentence if there is one, else after a clause, else at a space, else
/// between two characters. Pieces are trimmed; pieces without a letter or a digit are left out.
pub(super) fn split(text: &str, budget: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(cut(rest, budget));
        if is_speakable(piece) {
            pieces.push(piece.trim());
        }
        rest = tail.trim_start();
    }
    pieces
}

/// About how many seconds it takes to say, at natural speed.
pub(super) fn seconds(text: &str) -> f64 {
    text.chars().map(weight).sum::<usize>() as f64 / COST_A_SECOND
}

/// Whether there is anything to say at all.
pub(super) fn is_speakable(text: &str) -> bool {
    text.chars().any(char::is_alphanumeric)
}

/// Whether the text ends like a sentence, so that a pause belongs after it.
pub(super) fn ends_sentence(text: &str) -> bool {
    text.trim_end().trim_end_matches(is_closer).ends_with(|character| is_terminator(character) || character == '.')
}

/// Byte length of the first piece of `text`; at least one character.
fn cut(text: &str, budget: usize) -> usize {
    let (mut sentence, mut clause, mut space) = (0, 0, 0);
    let mut after_terminator = false;
    // Where a control token began that has not ended: there is no place to cut inside of it.
    let mut token = None;
    let mut spent = 0;
    let mut characters = text.char_indices().peekable();
    while let Some((start, character)) = characters.next() {
        spent += weight(character);
        if spent > budget && start > 0 {
            let best = [sentence, clause, space].into_iter().find(|end| *end > 0);
            return best.unwrap_or_else(|| token.filter(|began| *began > 0).unwrap_or(start));
        }
        token = match character {
            '[' | '<' => Some(start),
            ']' | '>' => None,
            _ => token.filter(|began| start - began < MAX_TOKEN_BYTES),
        };
        let end = start + character.len_utf8();
        let next = characters.peek().map(|(_, next)| *next);
        let is_stop = is_full_stop(character, next) && !goes_on(text.get(end..).unwrap_or_default());
        after_terminator = is_terminator(character) || is_stop || (after_terminator && is_closer(character));
        if after_terminator && !next.is_some_and(|next| is_terminator(next) || is_closer(next)) {
            sentence = end;
        } else if is_clause_end(character) && !next.is_some_and(char::is_numeric) {
            clause = end;
        } else if character.is_whitespace() {
            space = end;
        }
    }
    text.len()
}

/// How long a character takes to say, roughly. A digit is a word.
fn weight(character: char) -> usize {
    let is_wide = matches!(character, '\u{1100}'..='\u{11FF}' | '\u{2E80}'..);
    if is_wide || character.is_numeric() { WIDE } else { NARROW }
}

fn is_terminator(character: char) -> bool {
    // Chinese and Japanese, European, Greek, Arabic and Urdu, the scripts of India.
    matches!(character, '。' | '！' | '？' | '｡' | '．' | '‼' | '⁇' | '⁈' | '⁉')
        || matches!(character, '!' | '?' | '…' | '\n' | '\u{37E}' | '؟' | '۔' | '।' | '॥')
}

/// A full stop ends a sentence only before a space: not in `3.5`, not in `example.com`.
fn is_full_stop(character: char, next: Option<char>) -> bool {
    character == '.' && next.is_none_or(|next| next.is_whitespace() || is_closer(next))
}

/// Whether a sentence goes on after a full stop, as after "e.g." and "z. B.".
fn goes_on(rest: &str) -> bool {
    rest.trim_start_matches(|character: char| character.is_whitespace() && character != '\n')
        .starts_with(char::is_lowercase)
}

fn is_closer(character: char) -> bool {
    matches!(character, '"' | '\'' | '”' | '’' | '»' | ')' | '）' | '」' | '』' | '】' | '》')
}

fn is_clause_end(character: char) -> bool {
    matches!(character, ',' | '，' | '、' | ';' | '；' | ':' | '：' | '—' | '､')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_stays_whole() {
        assert_eq!(split("  Hello. World!  ", 100), ["Hello. World!"]);
        assert_eq!(split("", 100), Vec::<&str>::new());
    }

    #[test]
    fn cuts_after_the_last_sentence_that_fits() {
        assert_eq!(split("One two. Three. Four five.", 17), ["One two. Three.", "Four five."]);
        assert_eq!(split("你好。今天天气很好！再见", 21), ["你好。", "今天天气很好！", "再见"]);
        assert_eq!(split("こんにちは。元気ですか？", 24), ["こんにちは。", "元気ですか？"]);
        assert_eq!(split("안녕하세요. 반갑습니다.", 24), ["안녕하세요.", "반갑습니다."]);
        assert_eq!(split("Ça va ? Très bien !", 12), ["Ça va ?", "Très bien !"]);
    }

    #[test]
    fn a_quotation_keeps_its_closing_mark() {
        assert_eq!(split("他说：“走吧！”然后走了。", 27), ["他说：“走吧！”", "然后走了。"]);
    }

    #[test]
    fn a_full_stop_inside_a_number_or_a_name_is_no_end() {
        let text = "Version 3.5 of example.com costs 1,000 euros";
        for piece in split(text, 24) {
            assert!(!piece.ends_with(['.', ',']), "{piece}");
        }
    }

    #[test]
    fn every_script_has_its_marks() {
        for (text, expected) in [
            ("私は行く．君は残れ．", ["私は行く．", "君は残れ．"]),
            ("¿Qué tal? ¡Muy bien!", ["¿Qué tal?", "¡Muy bien!"]),
            ("Τι κάνεις\u{37E} Καλά ευχαριστώ.", ["Τι κάνεις\u{37E}", "Καλά ευχαριστώ."]),
            ("Как дела? Всё хорошо.", ["Как дела?", "Всё хорошо."]),
            ("그래요? 네, 좋아요.", ["그래요?", "네, 좋아요."]),
        ] {
            let budget = expected.iter().map(|piece| piece.chars().map(weight).sum::<usize>()).max().unwrap();
            assert_eq!(split(text, budget), expected);
        }
    }

    #[test]
    fn a_full_stop_before_a_small_letter_is_no_end() {
        assert_eq!(split("Use tools, e.g. a saw and a plane.", 22), ["Use tools,", "e.g. a saw and a", "plane."]);
        assert_eq!(split("Mr. Fox ran. He fell.", 13), ["Mr. Fox ran.", "He fell."]);
    }

    #[test]
    fn no_cut_is_inside_a_control_token() {
        assert_eq!(split("一二三四[breath]五六", 18), ["一二三四", "[breath]五六"]);
        assert_eq!(split("一二三<strong>四</strong>五", 14), ["一二三", "<strong>四", "</strong>五"]);
    }

    #[test]
    fn seconds_grow_with_the_text() {
        assert_eq!((seconds(""), seconds("一二三四"), seconds(&"a".repeat(240))), (0.0, 1.0, 20.0));
    }

    #[test]
    fn falls_back_to_clauses_then_spaces_then_characters() {
        assert_eq!(split("first part, second part", 14), ["first part,", "second part"]);
        assert_eq!(split("alpha beta gamma", 12), ["alpha beta", "gamma"]);
        assert_eq!(split("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(split("一二三四五", 6), ["一二", "三四", "五"]);
    }

    #[test]
    fn every_piece_fits_and_no_character_is_lost() {
        let text = "The year 2026, 今年是二零二六年。Ünïcödé… 東京！ \n\n end".repeat(40);
        for budget in [1, 7, 50, 240] {
            let pieces = split(&text, budget);
            for piece in &pieces {
                let cost: usize = piece.chars().map(weight).sum();
                assert!(cost <= budget.max(WIDE), "{piece} costs {cost} of {budget}");
            }
            let said = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
            assert_eq!(said(&pieces.concat()), said(&text));
        }
    }

    #[test]
    fn pieces_without_letters_or_digits_are_left_out() {
        assert_eq!(split("?! … — 。", 3), Vec::<&str>::new());
        assert_eq!(split("好。。。。。好", 6), ["好。", "好"]);
    }

    #[test]
    fn knows_where_a_pause_belongs() {
        assert!(ends_sentence("Hello.") && ends_sentence("你好。” ") && ends_sentence("Oh!"));
        assert!(!ends_sentence("Hello,") && !ends_sentence("Hello"));
    }
}
