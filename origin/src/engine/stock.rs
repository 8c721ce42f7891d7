//! The stock voices of CosyVoice, and whose voice an utterance wants.

use std::collections::HashMap;

use super::prompt::{Speaker, without_tokens};
use super::{EngineError, EngineSettings, Reference, SettingsError, Utterance, Voice, VoiceSource, reference};

/// The stock voices and where they come from.
pub(super) struct Speakers {
    voices: Vec<Voice>,
    speakers: HashMap<String, Speaker>,
}

impl Speakers {
    /// Reads the recordings of the stock voices.
    pub(super) fn read(settings: &EngineSettings) -> Result<Self, SettingsError> {
        let mut stock = Self { voices: Vec::new(), speakers: HashMap::new() };
        for voice in &settings.voices {
            let speaker = match &voice.source {
                VoiceSource::Preset { speaker_id } => Speaker::Preset { speaker_id: speaker_id.clone() },
                VoiceSource::Reference { audio_path, transcript } => Speaker::Reference {
                    audio: reference::read(audio_path).map_err(|error| voice.error(error))?,
                    transcript: transcript.trim().to_owned(),
                },
            };
            stock.speakers.insert(voice.id.clone(), speaker);
            stock.voices.push(Voice {
                id: voice.id.clone(),
                name: voice.name.clone(),
                languages: voice.languages.clone(),
                description: voice.description.clone(),
            });
        }
        Ok(stock)
    }

    pub(super) fn voices(&self) -> &[Voice] {
        &self.voices
    }

    /// Whose voice an utterance wants.
    pub(super) fn of(&self, utterance: &Utterance) -> Result<Speaker, EngineError> {
        match &utterance.reference {
            Some(Reference { wav, transcript }) => {
                // A user wrote the transcript, so it is cleaned like a text.
                let transcript = without_tokens(transcript).trim().to_owned();
                Ok(Speaker::Reference { audio: wav.clone(), transcript })
            }
            None => self.speakers.get(&utterance.voice).cloned().ok_or_else(EngineError::unknown_voice),
        }
    }
}
