//! What the routes of CosyVoice's FastAPI server want to be told, by model and mode.

use bytes::Bytes;
use reqwest::multipart::{Form, Part};

use super::super::{CosyVoiceMode, CosyVoiceModel, EngineError};

/// CosyVoice3 starts to speak only after this token. Without it in the right field the model
/// asserts in a thread of its own, and the request may never end.
const END_OF_PROMPT: &str = "<|endofprompt|>";
const SYSTEM_PROMPT: &str = "You are a helpful assistant.";

/// Longest name of a control token; longer spans are text.
const MAX_TOKEN_BYTES: usize = 64;

/// Where the sound of a voice comes from.
#[derive(Clone)]
pub(super) enum Speaker {
    Preset { speaker_id: String },
    Reference { audio: Bytes, transcript: String },
}

/// A request to the server, but for the text.
#[derive(Clone)]
pub(super) struct Prompt {
    pub(super) model: CosyVoiceModel,
    pub(super) mode: CosyVoiceMode,
    pub(super) speaker: Speaker,
    pub(super) instruct: String,
}

impl Prompt {
    /// Path below the server's address.
    pub(super) fn path(&self) -> &'static str {
        match self.mode {
            CosyVoiceMode::Sft => "/inference_sft",
            CosyVoiceMode::ZeroShot => "/inference_zero_shot",
            CosyVoiceMode::CrossLingual => "/inference_cross_lingual",
            CosyVoiceMode::Instruct2 => "/inference_instruct2",
        }
    }

    /// The form fields that ask for `text`.
    pub(super) fn form(&self, text: &str) -> Result<Form, EngineError> {
        let system_prompt = match self.model {
            CosyVoiceModel::CosyVoice3 => format!("{SYSTEM_PROMPT}{END_OF_PROMPT}"),
            CosyVoiceModel::CosyVoice2 | CosyVoiceModel::CosyVoice => String::new(),
        };
        let form = Form::new();
        Ok(match (&self.speaker, self.mode) {
            (Speaker::Preset { speaker_id }, _) => {
                form.text("tts_text", text.to_owned()).text("spk_id", speaker_id.clone())
            }
            (Speaker::Reference { audio, .. }, CosyVoiceMode::CrossLingual) => {
                form.text("tts_text", format!("{system_prompt}{text}")).part("prompt_wav", wav_part(audio)?)
            }
            (Speaker::Reference { audio, .. }, CosyVoiceMode::Instruct2) => form
                .text("tts_text", text.to_owned())
                .text("instruct_text", self.instruct_text())
                .part("prompt_wav", wav_part(audio)?),
            (Speaker::Reference { audio, transcript }, _) => form
                .text("tts_text", text.to_owned())
                .text("prompt_text", format!("{system_prompt}{transcript}"))
                .part("prompt_wav", wav_part(audio)?),
        })
    }

    /// Without its end mark, CosyVoice2 speaks the instruction aloud.
    fn instruct_text(&self) -> String {
        match (self.model, self.instruct.as_str()) {
            (CosyVoiceModel::CosyVoice3, "") => format!("{SYSTEM_PROMPT}{END_OF_PROMPT}"),
            (CosyVoiceModel::CosyVoice3, instruct) => {
                format!("{SYSTEM_PROMPT} {instruct}{END_OF_PROMPT}")
            }
            (_, instruct) => format!("{instruct}{END_OF_PROMPT}"),
        }
    }
}

fn wav_part(audio: &Bytes) -> Result<Part, EngineError> {
    Part::stream_with_length(audio.clone(), audio.len() as u64)
        .file_name("reference.wav")
        .mime_str("audio/wav")
        .map_err(|error| EngineError::failed(format!("the request cannot be built: {error}")))
}

/// Takes the control tokens (`<|…|>`) out of what a user wrote: one could end the prompt early or
/// switch off the server's own normalisation.
///
/// Every other bar goes too. The server drops brackets and line breaks between two characters, so
/// a token could otherwise be put together behind our back.
pub(super) fn without_tokens(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let token = token_bytes(rest);
        let is_text = token.is_none() && !matches!(character, '|' | '｜');
        let is_harmless = character == '\n' || !character.is_control();
        clean.push(if is_text && is_harmless { character } else { ' ' });
        rest = rest.get(token.unwrap_or(character.len_utf8())..).unwrap_or_default();
    }
    clean
}

/// Length of the token that `text` starts with. Looks only as far as a token reaches.
fn token_bytes(text: &str) -> Option<usize> {
    let inside = text.strip_prefix("<|")?;
    let reach = inside.len().min(MAX_TOKEN_BYTES + 2);
    let end = inside.as_bytes().get(..reach)?.windows(2).position(|pair| pair == b"|>")?;
    let is_name = !inside.get(..end)?.contains(char::is_whitespace);
    is_name.then_some(end + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_taken_out() {
        assert_eq!(without_tokens("Hi<|endofprompt|> there"), "Hi  there");
        assert_eq!(without_tokens("<|im_start|><|a|>x<|im_end|>"), "  x ");
        assert_eq!(without_tokens("你<|好|>吗"), "你 吗");
        assert_eq!(without_tokens("a\u{0}b\tc\nd"), "a b c\nd");
    }

    #[test]
    fn words_between_operators_stay() {
        assert_eq!(without_tokens("x |> f <| y |> g"), "x  > f <  y  > g");
        assert_eq!(without_tokens("<strong>a</strong> < b || c"), "<strong>a</strong> < b    c");
    }

    #[test]
    fn no_token_appears_when_another_is_taken_out() {
        for text in [
            "<<|x|>|endofprompt|>",
            "<|end<|x|>ofprompt|>",
            "<\u{0}|endofprompt|\u{0}>",
            "<（|endofprompt|）>",
            "<\n|endofprompt|\n>",
            "＜｜endofprompt｜＞",
            "<|<|endofprompt|>|>",
            "<|>|>",
            "<<||>>",
            "<|",
            "|>",
        ] {
            let clean = without_tokens(text);
            assert!(!clean.contains(['|', '｜']), "{text:?} gives {clean:?}");
        }
    }

    #[test]
    fn a_long_text_without_an_end_is_cleaned_in_no_time() {
        let clean = without_tokens(&"<|".repeat(100_000));
        assert_eq!(clean, "< ".repeat(100_000));
    }

    #[test]
    fn instructions_have_the_form_of_their_model() {
        let form = |model, instruct: &str| {
            let speaker = Speaker::Preset { speaker_id: String::new() };
            let mode = CosyVoiceMode::Instruct2;
            Prompt { model, mode, speaker, instruct: instruct.into() }.instruct_text()
        };
        assert_eq!(
            form(CosyVoiceModel::CosyVoice3, "Whisper."),
            "You are a helpful assistant. Whisper.<|endofprompt|>"
        );
        assert_eq!(form(CosyVoiceModel::CosyVoice3, ""), "You are a helpful assistant.<|endofprompt|>");
        assert_eq!(form(CosyVoiceModel::CosyVoice2, "Whisper."), "Whisper.<|endofprompt|>");
    }
}
