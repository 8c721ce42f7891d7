//! What it can do, and which way an instruction takes.

use super::{Server, fields, good, say, settings, spoken};
use crate::engine::{self, CosyVoiceMode, CosyVoiceModel, Utterance};

#[tokio::test]
async fn an_instruction_takes_the_way_that_has_a_field_for_it() {
    for (instruct, told) in
        [("Whisper.", "Whisper."), ("cantonese", "请用广东话表达。"), ("东北话", "请用东北话表达。")]
    {
        let server = Server::start(vec![good(&[1, 2])]).await;
        let (_directory, settings) = settings(&[&server]);
        assert_eq!(settings.mode, CosyVoiceMode::ZeroShot);
        spoken(&settings, Utterance { instruct: Some(instruct.into()), ..say("Hello") }).await.unwrap();
        let request = server.requests().remove(0);
        assert!(request.starts_with("POST /inference_instruct2 HTTP/1.1"), "{request}");
        let expected = format!("You are a helpful assistant. {told}<|endofprompt|>");
        assert_eq!(fields(&request)[1], ("instruct_text".to_owned(), expected));
    }
}

#[tokio::test]
async fn what_it_can_do_follows_from_model_and_mode() {
    let server = Server::start(vec![good(&[1, 2])]).await;
    let (_directory, mut settings) = settings(&[&server]);
    let engine = engine::build(&settings).unwrap();
    let abilities = engine.abilities();
    assert_eq!(abilities.modes, ["zero_shot", "instruct2"]);
    assert_eq!((abilities.languages.len(), engine.instructs().len()), (10, 26));
    assert!(abilities.instruct && abilities.reference && abilities.streaming && !abilities.speed && !abilities.seed);
    settings.model = CosyVoiceModel::CosyVoice2;
    assert_eq!(engine::build(&settings).unwrap().instructs(), []);
    settings.model = CosyVoiceModel::CosyVoice;
    assert_eq!(engine::build(&settings).unwrap().abilities().modes, ["zero_shot"]);
}
