//! The rules that hold for every engine.

use bytes::Bytes;
use futures::StreamExt;

use super::{EngineError, Sentences, Speech};

fn speech(pieces: Vec<Result<&'static [u8], EngineError>>) -> Speech {
    let pieces = pieces.into_iter().map(|piece| piece.map(Bytes::from_static));
    Speech { sample_rate: 24_000, pcm: futures::stream::iter(pieces).boxed(), sentences: Sentences::default() }
}

#[tokio::test]
async fn collect_returns_the_whole_audio() {
    let whole = speech(vec![Ok(&[1, 2]), Ok(&[3, 4, 5, 6])]).collect(6).await;
    assert_eq!(whole, Ok(vec![1, 2, 3, 4, 5, 6]));
}

#[tokio::test]
async fn collect_never_returns_half_an_audio() {
    let cut = EngineError::failed("cut");
    let cases = [
        (vec![Ok([1_u8, 2].as_slice()), Err(cut.clone())], "cut"),
        (vec![], "without any audio"),
        (vec![Ok(&[])], "without any audio"),
        (vec![Ok(&[1, 2, 3])], "middle of a sample"),
        (vec![Ok(&[1, 2, 3, 4]), Ok(&[5, 6, 7, 8])], "longer than 6 bytes"),
    ];
    for (pieces, expected) in cases {
        let error = speech(pieces).collect(6).await.unwrap_err();
        assert!(matches!(error, EngineError::Failed(_)), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
