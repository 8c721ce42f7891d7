//! What an operator can write, and how mistakes are named.

use super::*;

fn parse(table: &str) -> Result<EngineSettings, String> {
    let settings: EngineSettings = toml::from_str(table).map_err(|e| e.to_string())?;
    settings.validate().map_err(|e| e.to_string())?;
    Ok(settings)
}

const COSYVOICE: &str = r#"
    kind = "cosyvoice-http"
    urls = ["http://127.0.0.1:50000"]
    [[voices]]
    id = "anna"
    name = "Anna"
    source = { kind = "reference", audio_path = "anna.wav", transcript = "Good morning." }
"#;

#[test]
fn an_empty_table_is_espeak() {
    let settings = parse("").unwrap();
    assert_eq!(settings, EngineSettings::default());
    assert_eq!(settings.kind, EngineKind::Espeak);
    assert_eq!(settings.max_speech_bytes(), 1800 * 48_000);
}

#[test]
fn cosyvoice_speaks_one_at_a_time_by_default() {
    let settings = parse(COSYVOICE).unwrap();
    assert_eq!(settings.concurrency(), 1);
    assert_eq!(settings.model, CosyVoiceModel::CosyVoice3);
    assert_eq!(settings.mode, CosyVoiceMode::ZeroShot);
}

#[test]
fn kinds_have_one_name_everywhere() {
    use EngineKind::{CosyVoiceGrpc, CosyVoiceHttp, Espeak, Gradio, OpenAi};
    for kind in [Espeak, CosyVoiceHttp, CosyVoiceGrpc, Gradio, OpenAi] {
        let name = serde_json::to_value(kind).unwrap();
        assert_eq!(name.as_str().unwrap().parse(), Ok(kind));
    }
}

#[test]
fn mistakes_are_named() {
    let cases = [
        ("colour = 1", "unknown field `colour`"),
        ("deadline_seconds = 0", "engine.deadline_seconds is 0"),
        ("deadline_per_audio_second = -1.0", "must be 0 to 1000"),
        ("deadline_per_audio_second = nan", "must be 0 to 1000"),
        ("sample_rate_hz = 96000", "engine.sample_rate_hz is 96000"),
        ("kind = \"cosyvoice-http\"", "engine.urls needs"),
        ("kind = \"cosyvoice-http\"\nurls = [\"http://u:p@h\"]", "without password"),
        ("kind = \"cosyvoice-http\"\nurls = [\"ftp://h\"]", "http://host:port"),
        ("kind = \"cosyvoice-http\"\nurls = [\"https://h\"]", "engine.voices needs"),
        ("kind = \"cosyvoice-http\"\nurls = [\"http://h\"]", "engine.voices needs"),
    ];
    for (table, expected) in cases {
        let error = parse(table).unwrap_err();
        assert!(error.contains(expected), "{table}: {error}");
    }
    let edits = [
        ("[[voices]]", "mode = \"sft\"\n[[voices]]", "CosyVoice3 has no preset voices"),
        ("[[voices]]", "mode = \"sft\"\nmodel = \"cosyvoice2\"\n[[voices]]", "mode sft cannot"),
        ("\"cosyvoice-http\"", "\"openai\"\nmode = \"instruct2\"", "zero_shot or sft for the engine openai"),
        ("\"cosyvoice-http\"", "\"gradio\"\nmode = \"instruct2\"", "have no such way"),
        (
            "\"cosyvoice-http\"\n    urls = [\"http://127.0.0.1:50000",
            "\"cosyvoice-grpc\"\n    urls = [\"http://127.0.0.1:50000/path",
            "only host and port",
        ),
        ("\"cosyvoice-http\"", "\"cosyvoice-grpc\"\nmode = \"instruct2\"", "have no such way"),
        ("[[voices]]", "mode = \"instruct2\"\nmodel = \"cosyvoice\"\n[[voices]]", "instruct2"),
        ("Good morning.", "", "has no transcript"),
        ("Good", "<|endofprompt|>Good", "control token"),
        ("\"anna\"", "\"an na\"", "has an id"),
        ("transcript", "text", "unknown field `text`"),
    ];
    for (from, to, expected) in edits {
        let error = parse(&COSYVOICE.replace(from, to)).unwrap_err();
        assert!(error.contains(expected), "{to}: {error}");
    }
    let twice = format!("{COSYVOICE}{}", &COSYVOICE[COSYVOICE.find("[[").unwrap()..]);
    assert!(parse(&twice).unwrap_err().contains("is there twice"));
}
