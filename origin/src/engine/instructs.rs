//! The styles that CosyVoice3 was made to know: dialects and manners, offered by name.

use schemars::JsonSchema;
use serde::Serialize;

/// A style that a request names in place of an instruction in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Instruct {
    /// What a request says in `instruct`.
    pub id: &'static str,
    /// `dialect`, `emotion` or `manner`.
    pub kind: &'static str,
    /// What a person reads.
    pub name: Names,
    /// What the model is told, word for word as it was trained.
    #[serde(skip)]
    sentence: &'static str,
}

/// A name in the languages of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Names {
    /// English.
    pub en: &'static str,
    /// Chinese.
    pub zh: &'static str,
}

const fn of(
    kind: &'static str,
    id: &'static str,
    en: &'static str,
    zh: &'static str,
    sentence: &'static str,
) -> Instruct {
    Instruct { id, kind, name: Names { en, zh }, sentence }
}

const DIALECT: &str = "dialect";
const EMOTION: &str = "emotion";
const MANNER: &str = "manner";

/// All of them, in the order in which they are shown.
pub(super) const INSTRUCTS: [Instruct; 26] = [
    of(DIALECT, "cantonese", "Cantonese", "广东话", "请用广东话表达。"),
    of(DIALECT, "dongbei", "Northeastern", "东北话", "请用东北话表达。"),
    of(DIALECT, "gansu", "Gansu", "甘肃话", "请用甘肃话表达。"),
    of(DIALECT, "guizhou", "Guizhou", "贵州话", "请用贵州话表达。"),
    of(DIALECT, "henan", "Henan", "河南话", "请用河南话表达。"),
    of(DIALECT, "hubei", "Hubei", "湖北话", "请用湖北话表达。"),
    of(DIALECT, "hunan", "Hunan", "湖南话", "请用湖南话表达。"),
    of(DIALECT, "jiangxi", "Jiangxi", "江西话", "请用江西话表达。"),
    of(DIALECT, "minnan", "Southern Min", "闽南话", "请用闽南话表达。"),
    of(DIALECT, "ningxia", "Ningxia", "宁夏话", "请用宁夏话表达。"),
    of(DIALECT, "shanxi", "Shanxi", "山西话", "请用山西话表达。"),
    of(DIALECT, "shaanxi", "Shaanxi", "陕西话", "请用陕西话表达。"),
    of(DIALECT, "shandong", "Shandong", "山东话", "请用山东话表达。"),
    of(DIALECT, "shanghai", "Shanghainese", "上海话", "请用上海话表达。"),
    of(DIALECT, "sichuan", "Sichuanese", "四川话", "请用四川话表达。"),
    of(DIALECT, "tianjin", "Tianjin", "天津话", "请用天津话表达。"),
    of(DIALECT, "yunnan", "Yunnan", "云南话", "请用云南话表达。"),
    of(EMOTION, "happy", "Happy", "开心", "请非常开心地说一句话。"),
    of(EMOTION, "sad", "Sad", "伤心", "请非常伤心地说一句话。"),
    of(EMOTION, "angry", "Angry", "生气", "请非常生气地说一句话。"),
    of(MANNER, "loud", "As loud as possible", "尽量大声", "Please say a sentence as loudly as possible."),
    of(MANNER, "soft", "Very softly", "非常轻声", "Please say a sentence in a very soft voice."),
    of(MANNER, "slow", "As slow as possible", "尽量慢", "请用尽可能慢地语速说一句话。"),
    of(MANNER, "fast", "As fast as possible", "尽量快", "请用尽可能快地语速说一句话。"),
    of(MANNER, "peppa", "Like Peppa Pig", "小猪佩奇风格", "我想体验一下小猪佩奇风格，可以吗？"),
    of(MANNER, "robot", "Like a robot", "机器人方式", "你可以尝试用机器人的方式解答吗？"),
];

/// What the model is told: the sentence of the style of this id or name, or the words as they are.
pub(super) fn resolve(instruct: &str) -> &str {
    let named = |style: &&Instruct| {
        let Names { en, zh } = style.name;
        [style.id, en, zh].iter().any(|name| name.eq_ignore_ascii_case(instruct))
    };
    INSTRUCTS.iter().find(named).map_or(instruct, |style| style.sentence)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_style_is_found_by_each_of_its_names() {
        let mut names = HashSet::new();
        for style in INSTRUCTS {
            for name in [style.id, style.name.en, style.name.zh] {
                assert_eq!(resolve(name), style.sentence);
            }
            assert!(names.insert(style.id) && names.insert(style.sentence), "{}", style.id);
        }
        assert_eq!(INSTRUCTS.iter().filter(|style| style.kind == DIALECT).count(), 17);
    }

    #[test]
    fn other_words_are_told_as_they_are() {
        assert_eq!(resolve("CANTONESE"), "请用广东话表达。");
        assert_eq!(resolve("Softly, as if to a child."), "Softly, as if to a child.");
    }
}
