//! `GET /` and `GET /assets/…`: the page, built into the program.

use axum::extract::Path;
use axum::http::header::{self, HeaderMap};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use gate::Code;
use rust_embed::RustEmbed;

use crate::hash::hex;
use crate::openapi::{About, Gives, Section};
use crate::problem::Refusal;
use crate::ranges::matches_any;

#[derive(RustEmbed)]
#[folder = "web"]
struct Files;

pub(super) const INDEX: About = About::new(Section::Other, "The page").answers(&HTML).refuses(&[Code::NotFound]);
pub(super) const DOCS: About =
    About::new(Section::Other, "This description, for reading").answers(&HTML).refuses(&[Code::NotFound]);
pub(super) const ASSET: About = About::new(Section::Other, "A file of a page")
    .answers(&[Gives::media(200, MEDIA_TYPES, "The file"), Gives::empty(304, "Not modified")]);
const HTML: [Gives; 2] = [Gives::media(200, &["text/html"], "The page"), Gives::empty(304, "Not modified")];
const MEDIA_TYPES: &[&str] = &[
    "text/html",
    "text/css",
    "text/javascript",
    "application/json",
    "image/svg+xml",
    "image/png",
    "image/x-icon",
    "font/woff2",
];

/// The page itself.
pub(super) async fn index(headers: HeaderMap) -> Result<Response, Refusal> {
    file("index.html", &headers)
}

/// The description of the API, for reading.
pub(super) async fn docs(headers: HeaderMap) -> Result<Response, Refusal> {
    file("docs.html", &headers)
}

/// One of its files.
pub(super) async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Result<Response, Refusal> {
    file(&path, &headers)
}

fn file(name: &str, headers: &HeaderMap) -> Result<Response, Refusal> {
    let kind = content_type(name).ok_or_else(Refusal::not_found)?;
    let file = Files::get(name).ok_or_else(Refusal::not_found)?;
    let etag = format!("\"{}\"", hex(&file.metadata.sha256_hash()));
    let is_known = matches_any(headers, header::IF_NONE_MATCH, &etag);
    let common = [(header::ETAG, etag), (header::CACHE_CONTROL, "no-cache".to_owned())];
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    let mut response = (common, file.data).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

/// Only kinds that the page is made of are served.
fn content_type(name: &str) -> Option<&'static str> {
    Some(match name.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::test_app::TestApp;

    #[tokio::test]
    async fn the_page_and_its_files_are_there() {
        let app = TestApp::new().await;
        for (target, kind) in [
            ("/", "text/html; charset=utf-8"),
            ("/assets/app.js", "text/javascript; charset=utf-8"),
            ("/assets/style.css", "text/css; charset=utf-8"),
            ("/assets/favicon.svg", "image/svg+xml"),
        ] {
            let reply = app.send(app.request("GET", target, None, None)).await;
            assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, kind), "{target}");
            assert_eq!(reply.header("cache-control"), "no-cache");
            let mut again = app.request("GET", target, None, None);
            again.headers_mut().insert("if-none-match", reply.header("etag").parse().unwrap());
            let again = app.send(again).await;
            assert_eq!((again.status.as_u16(), again.body.len()), (304, 0), "{target}");
        }
    }

    #[tokio::test]
    async fn every_file_that_the_page_names_is_there() {
        let app = TestApp::new().await;
        let page = app.send(app.request("GET", "/", None, None)).await;
        let page = String::from_utf8(page.body.to_vec()).unwrap();
        let named: Vec<&str> = page.split('"').filter(|part| part.starts_with("/assets/")).collect();
        assert!(!named.is_empty());
        for target in named {
            let reply = app.send(app.request("GET", target, None, None)).await;
            assert_eq!(reply.status.as_u16(), 200, "{target}");
        }
    }
}
