//! Voices that users made of recordings: who may be cloned, which voice a request means, and what
//! an engine is given for it.
//!
//! Engines store nothing of them. Some have one namespace for all their clients, and some tell
//! voices apart by their transcript alone; so the recording goes along with each request.

use bytes::Bytes;
use gate::Code;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::audio::{self, Advice, SampleError};
use crate::caller::Caller;
use crate::clock::{is_id, new_id};
use crate::engine::Reference;
use crate::hash::sha256_hex;
use crate::problem::Refusal;
use crate::speech;
use crate::store::{OwnVoice, VoiceChange};

const MAX_NAME_CHARACTERS: usize = 64;
const MAX_TRANSCRIPT_CHARACTERS: usize = 500;
const MAX_LANGUAGE_BYTES: usize = 35;

/// A sentence that makes a recording a voice. What it says is what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Consent {
    /// `own`: the user is heard; `permission`: somebody else, who knows.
    pub kind: &'static str,
    /// BCP 47.
    pub language: &'static str,
    /// What the user agrees to, word for word.
    pub statement: &'static str,
}

/// The sentences that are accepted. A sentence that is changed is another one: it goes beside the
/// old one, which stays valid for what was agreed to.
pub const CONSENTS: [Consent; 4] = [
    Consent {
        kind: "own",
        language: "en",
        statement: "This is a recording of my own voice, and I agree that a synthetic voice is made of it.",
    },
    Consent {
        kind: "permission",
        language: "en",
        statement: "The person who is heard in this recording has given me permission to make a synthetic voice of it.",
    },
    Consent {
        kind: "own", language: "zh", statement: "这是我本人的录音，我同意用它制作合成语音。"
    },
    Consent {
        kind: "permission", language: "zh", statement: "录音中的本人已许可我用这段录音制作合成语音。"
    },
];

/// What a user sent.
#[derive(Debug, Default)]
pub struct NewVoice {
    /// The user's own name for it.
    pub name: String,
    /// What is said in the recording.
    pub transcript: String,
    /// BCP 47.
    pub language: Option<String>,
    /// One of [`CONSENTS`], word for word.
    pub consent: String,
    /// The recording, in any format that [`audio::prepare`] reads.
    pub sample: Bytes,
}

/// Makes a voice of a recording.
///
/// # Errors
/// Something that was sent is not good, the role has no room for another voice, or the disk or
/// the database failed. Nothing is left then.
pub async fn add(app: &App, caller: &Caller, new: NewVoice) -> Result<(OwnVoice, Vec<Advice>), Refusal> {
    let most = check_room(app, caller).await?;
    let name = check_name(app, &new.name)?;
    let transcript = check_transcript(&new.transcript)?;
    let language = new.language.as_deref().map(str::trim).filter(|language| !language.is_empty());
    let language = language.map(check_language).transpose()?;
    let consent = check_consent(&new.consent)?;
    let sample = match app.audio.turn().await?.run(move || audio::prepare(new.sample)).await {
        Ok(prepared) => prepared.map_err(|error| invalid(error.to_string()))?,
        // The decoder gave up in a way of its own; the file is as bad as one that it refuses.
        Err(refusal) => return Err(invalid(SampleError::Broken.to_string()).because(refusal.cause.unwrap_or_default())),
    };
    let now_ms = app.clock.now_ms();
    let voice = OwnVoice {
        id: new_id(now_ms),
        name,
        transcript,
        language,
        consent: consent.statement.to_owned(),
        consented_at: now_ms,
        frames: i64::try_from(sample.frames).unwrap_or(i64::MAX),
        sample_rate: i64::from(audio::SAMPLE_RATE),
        bytes: i64::try_from(sample.wav.len()).unwrap_or(i64::MAX),
        sha256: sha256_hex(&[&sample.wav]),
        created_at: now_ms,
    };
    let owned = app.store.of(caller);
    owned.expect_recording(&voice.id, now_ms).await?;
    let added = async {
        app.blobs.of(caller).put(&voice.id, [sample.wav]).await?;
        let audit = caller.audit(&app.clock, "voice_add", "ok").on(&voice.id);
        changed(owned.add_voice(&voice, most, &audit).await?, most)
    };
    if let Err(refusal) = added.await {
        speech::remove_audio(app, caller, &voice.id).await;
        return Err(refusal);
    }
    Ok((voice, sample.advice))
}

/// How many voices the role may have.
///
/// # Errors
/// The user has as many already.
pub async fn check_room(app: &App, caller: &Caller) -> Result<u32, Refusal> {
    let most = app.policy.now().role(caller.role())?.voices;
    let present = app.store.of(caller).voices().await?.len();
    if present >= most as usize { Err(no_room(most)) } else { Ok(most) }
}

/// Changes name or transcript.
///
/// # Errors
/// They are not good, there is no such voice, or the database failed.
pub async fn change(
    app: &App,
    caller: &Caller,
    id: &str,
    name: Option<&str>,
    transcript: Option<&str>,
) -> Result<OwnVoice, Refusal> {
    let name = name.map(|name| check_name(app, name)).transpose()?;
    let transcript = transcript.map(check_transcript).transpose()?;
    let owned = app.store.of(caller);
    let audit = caller.audit(&app.clock, "voice_change", "ok").on(id);
    changed(owned.change_voice(id, name.as_deref(), transcript.as_deref(), &audit).await?, 0)?;
    owned.voice(id).await?.ok_or_else(Refusal::not_found)
}

/// Removes a voice and its recording; false if the caller has none of this id.
///
/// # Errors
/// The database failed; nothing has changed.
pub async fn delete(app: &App, caller: &Caller, id: &str) -> Result<bool, Refusal> {
    let audit = caller.audit(&app.clock, "voice_delete", "ok").on(id);
    let is_deleted = app.store.of(caller).delete_voice(id, &audit).await?;
    if is_deleted {
        speech::remove_audio(app, caller, id).await;
    }
    Ok(is_deleted)
}

/// The id of the voice that a request means: a stock voice by id, an own one by id or name, or the
/// first stock voice if it names none.
///
/// # Errors
/// There is none, or the engine cannot speak with it.
pub async fn choose(app: &App, caller: &Caller, wanted: Option<&str>) -> Result<String, Refusal> {
    let unknown = || invalid("voice is not one of /api/voices.".to_owned());
    let stock = app.engine.voices();
    let Some(wanted) = wanted else {
        return stock.first().map(|voice| voice.id.clone()).ok_or_else(unknown);
    };
    if stock.iter().any(|voice| voice.id == wanted) {
        return Ok(wanted.to_owned());
    }
    let owned = app.store.of(caller);
    let own = if is_id(wanted) { owned.voice(wanted).await? } else { owned.voice_named(wanted).await? };
    let own = own.ok_or_else(unknown)?;
    if !app.engine.abilities().reference {
        let engine = app.engine.name();
        return Err(invalid(format!("The engine {engine} cannot speak with a voice of yours, only with its own.")));
    }
    Ok(own.id)
}

/// What the engine needs to speak with this voice; nothing if it is one of its own.
///
/// # Errors
/// The voice is gone by now, or its recording cannot be read.
pub async fn reference(app: &App, caller: &Caller, voice: &str) -> Result<Option<Reference>, Refusal> {
    if app.engine.voices().iter().any(|stock| stock.id == voice) {
        return Ok(None);
    }
    let own = app.store.of(caller).voice(voice).await?;
    let own = own.ok_or_else(|| invalid("The voice is not there any more.".to_owned()))?;
    let wav = app.blobs.of(caller).range(&own.id, 0..u64::try_from(own.bytes).unwrap_or_default()).await?;
    Ok(Some(Reference { wav, transcript: own.transcript }))
}

fn changed(change: VoiceChange, most: u32) -> Result<(), Refusal> {
    match change {
        VoiceChange::Done => Ok(()),
        VoiceChange::Unknown => Err(Refusal::not_found()),
        VoiceChange::NameTaken => Err(Refusal::new(Code::Conflict, "You have a voice of this name already.")),
        VoiceChange::TooMany => Err(no_room(most)),
    }
}

fn no_room(most: u32) -> Refusal {
    let detail = match most {
        0 => "Your role may have no voices of its own.".to_owned(),
        most => format!("Your role may have {most} voices of its own. Delete one that you no longer need."),
    };
    Refusal::new(Code::RoleForbidden, detail)
}

/// A name never looks like an id and is no stock voice's, so that each names one voice.
fn check_name(app: &App, name: &str) -> Result<String, Refusal> {
    let name = name.trim();
    let length = name.chars().count();
    if !(1..=MAX_NAME_CHARACTERS).contains(&length) || name.chars().any(char::is_control) || is_id(name) {
        return Err(invalid(format!("name must have 1 to {MAX_NAME_CHARACTERS} characters on one line.")));
    }
    if app.engine.voices().iter().any(|voice| voice.id == name || voice.name == name) {
        return Err(invalid("name is a stock voice's; choose another.".to_owned()));
    }
    Ok(name.to_owned())
}

fn check_transcript(transcript: &str) -> Result<String, Refusal> {
    let transcript = transcript.split_whitespace().collect::<Vec<_>>().join(" ");
    let length = transcript.chars().count();
    if !(1..=MAX_TRANSCRIPT_CHARACTERS).contains(&length) || transcript.chars().any(char::is_control) {
        let detail = format!(
            "transcript must say what is heard in the sample, in 1 to {MAX_TRANSCRIPT_CHARACTERS} \
                              characters."
        );
        return Err(invalid(detail));
    }
    if transcript.contains("<|") {
        return Err(invalid("transcript must not have control tokens (<|…|>).".to_owned()));
    }
    Ok(transcript)
}

fn check_language(language: &str) -> Result<String, Refusal> {
    let is_tag = language.len() <= MAX_LANGUAGE_BYTES
        && language
            .split('-')
            .all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    if is_tag { Ok(language.to_owned()) } else { Err(invalid("language must be a tag like en or zh-TW.".to_owned())) }
}

fn check_consent(statement: &str) -> Result<Consent, Refusal> {
    let statement = statement.trim();
    let given = CONSENTS.iter().find(|consent| consent.statement == statement).copied();
    given.ok_or_else(|| {
        let statements: Vec<String> = CONSENTS.iter().map(|consent| format!("\"{}\"", consent.statement)).collect();
        invalid(format!("consent must be one of these sentences, word for word: {}", statements.join(" · ")))
    })
}

fn invalid(detail: String) -> Refusal {
    Refusal::new(Code::RequestInvalid, detail)
}
