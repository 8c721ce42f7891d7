//! What the routes of CosyVoice's FastAPI server want to be told, by model and mode.

use bytes::Bytes;
use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder};

use super::super::http::Ask;
use super::super::prompt::{END_OF_PROMPT, SYSTEM_PROMPT, Speaker, system_prompt};
use super::super::{CosyVoiceMode, CosyVoiceModel};

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
    fn path(&self) -> &'static str {
        match self.mode {
            CosyVoiceMode::Sft => "/inference_sft",
            CosyVoiceMode::ZeroShot => "/inference_zero_shot",
            CosyVoiceMode::CrossLingual => "/inference_cross_lingual",
            CosyVoiceMode::Instruct2 => "/inference_instruct2",
        }
    }

    /// The form fields that ask for `text`.
    fn form(&self, text: &str) -> Form {
        let system_prompt = system_prompt(self.model);
        let form = Form::new();
        match (&self.speaker, self.mode) {
            (Speaker::Preset { speaker_id }, _) => {
                form.text("tts_text", text.to_owned()).text("spk_id", speaker_id.clone())
            }
            (Speaker::Reference { audio, .. }, CosyVoiceMode::CrossLingual) => {
                form.text("tts_text", format!("{system_prompt}{text}")).part("prompt_wav", wav_part(audio))
            }
            (Speaker::Reference { audio, .. }, CosyVoiceMode::Instruct2) => form
                .text("tts_text", text.to_owned())
                .text("instruct_text", self.instruct_text())
                .part("prompt_wav", wav_part(audio)),
            (Speaker::Reference { audio, transcript }, _) => form
                .text("tts_text", text.to_owned())
                .text("prompt_text", format!("{system_prompt}{transcript}"))
                .part("prompt_wav", wav_part(audio)),
        }
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

impl Ask for Prompt {
    fn request(&self, client: &Client, address: &str, text: &str) -> RequestBuilder {
        client.post(format!("{address}{}", self.path())).multipart(self.form(text))
    }
}

fn wav_part(audio: &Bytes) -> Part {
    let part = || Part::stream_with_length(audio.clone(), audio.len() as u64).file_name("reference.wav");
    part().mime_str("audio/wav").unwrap_or_else(|_| part())
}

#[cfg(test)]
mod tests {
    use super::*;

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
