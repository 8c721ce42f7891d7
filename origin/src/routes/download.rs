//! `GET /download/{id}`: the audio, whole or in part, as it is stored or in another format.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Method, Response};
use gate::Code;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::app::App;
use crate::audio::Format;
use crate::caller::Caller;
use crate::engine::wav;
use crate::input::{ObjectId, Parameters};
use crate::openapi::{About, Gives, Section};
use crate::problem::Refusal;
use crate::ranges::{self, Answer, FileHead};
use crate::store::Output;

/// Samples a second, for formats that do not say so themselves.
const SAMPLE_RATE: HeaderName = HeaderName::from_static("x-audio-sample-rate");
const SECONDS: HeaderName = HeaderName::from_static("x-audio-seconds");

/// The query.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// 1: the browser saves instead of playing.
    #[serde(default)]
    download: u8,
    #[serde(default)]
    format: Format,
}

pub(super) const GET: About = About::new(Section::Speech, "The audio of an output, whole or in part; also HEAD")
    .answers(&[
        Gives::media(200, Format::MEDIA_TYPES, "The audio"),
        Gives::media(206, Format::MEDIA_TYPES, "The part that `Range` asks for"),
        Gives::empty(304, "Not modified"),
    ])
    .refuses(&[Code::RangeInvalid, Code::StorageFull])
    .reads(&ranges::READS);

/// GET and HEAD.
pub(super) async fn handler(
    State(app): State<Arc<App>>,
    caller: Caller,
    ObjectId(id): ObjectId,
    Parameters(query): Parameters<Query>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response<Body>, Refusal> {
    let output = app.store.of(&caller).output(&id).await?.ok_or_else(Refusal::not_found)?;
    let format = query.format;
    let head = FileHead {
        tag: tag(&output, format),
        media_type: format.media_type(),
        name: format!("cosygate-{id}.{format}"),
        is_attachment: query.download == 1,
        made_at: output.created_at,
    };
    if let Some(response) = head.not_modified(&headers) {
        return Ok(response);
    }
    let made = if format == Format::Wav { None } else { Some(encoded(&app, &caller, &output, format).await?) };
    let size = made.as_ref().map_or(u64::try_from(output.bytes).unwrap_or_default(), |made| made.len() as u64);
    let (mut response, range) = match head.answer(&headers, size)? {
        Answer::Done(response) => return Ok(response),
        Answer::Bytes(response, range) => (response, range),
    };
    response.headers_mut().insert(SAMPLE_RATE, output.sample_rate.into());
    response.headers_mut().insert(SECONDS, output.seconds().to_string().parse().map_err(Refusal::internal)?);
    if method != Method::HEAD {
        // A player asks for many parts; the audit counts the download once, at its first byte.
        if range.start == 0 {
            app.store.audit(&caller.audit(&app.clock, "download", "ok").on(&id)).await?;
        }
        *response.body_mut() = match made {
            Some(made) => ranges::slice(&made, range).into(),
            None => ranges::stream(app.blobs.of(&caller), id, range).await?,
        };
    }
    Ok(response)
}

/// Names the content: the same output in another format is other content.
fn tag(output: &Output, format: Format) -> String {
    match format {
        Format::Wav => output.sha256.clone(),
        other => format!("{}-{other}", output.sha256),
    }
}

/// An output in another format. It is made anew each time: that takes less than reading the
/// answer does, and storing it would double what a user keeps.
pub(crate) async fn encoded(
    app: &App,
    caller: &Caller,
    output: &Output,
    format: Format,
) -> Result<bytes::Bytes, Refusal> {
    let turn = app.audio.turn().await?;
    let size = u64::try_from(output.bytes).unwrap_or_default();
    let pcm = app.blobs.of(caller).range(&output.id, wav::HEADER_BYTES as u64..size).await?;
    let sample_rate = u32::try_from(output.sample_rate).unwrap_or_default();
    let made = turn.run(move || format.encode(&pcm, sample_rate)).await?;
    made.map(Into::into).map_err(Refusal::internal)
}

#[cfg(test)]
mod tests;
