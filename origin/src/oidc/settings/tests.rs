use super::*;
use crate::config::Settings;

const GOOD: &str =
    "[[oidc]]\nid = \"work\"\nname = \"Work\"\nissuer = \"https://id.example\"\nclient_id = \"cosygate\"\n";

fn load(toml: &str, environment: &[(&str, &str)]) -> Result<Settings, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cosygate.toml");
    std::fs::write(&path, toml).unwrap();
    let variable =
        |name: &str| environment.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned());
    Settings::load(Some(&path), &variable).map_err(|error| error.to_string())
}

#[test]
fn little_needs_to_be_said() {
    let settings = load(GOOD, &[]).unwrap();
    let provider = &settings.oidc[0];
    assert_eq!((provider.sign_up, provider.username_claim.as_str()), (SignUp::Closed, "preferred_username"));
    assert_eq!((&provider.scopes, provider.roles.claim.as_str()), (&vec!["profile".to_owned()], "roles"));
    assert!(provider.client_secret.is_none() && provider.roles.mapping.is_empty());
    assert_eq!(settings.public_url.as_str(), "http://localhost:10000/");
}

#[test]
fn the_secret_comes_from_where_it_is_kept_and_is_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "hunter22\n").unwrap();
    let in_file = format!("{GOOD}client_secret_file = {:?}\n", file.display().to_string());
    let in_variable = format!("{GOOD}client_secret_env = \"WORK_SECRET\"\n");
    let in_place = format!("{GOOD}client_secret = \"hunter22\"\n");
    for (toml, environment) in
        [(&in_file, &[][..]), (&in_variable, &[("WORK_SECRET", "hunter22")][..]), (&in_place, &[][..])]
    {
        let settings = load(toml, environment).unwrap();
        assert_eq!(settings.oidc[0].client_secret.as_ref().unwrap().reveal(), "hunter22");
        let printed = format!("{settings:?}{}", toml::to_string(&settings.effective()).unwrap());
        assert!(!printed.contains("hunter22") && printed.contains("client_secret = \"***\""), "{printed}");
    }
    let twice = format!("{in_file}client_secret = \"other\"\n");
    for (toml, expected) in [
        (twice.as_str(), "give one of client_secret"),
        (in_variable.as_str(), "oidc.work.client_secret_env: the variable WORK_SECRET is not set"),
    ] {
        assert!(load(toml, &[]).unwrap_err().contains(expected));
    }
}

#[test]
fn mistakes_are_named() {
    let with = |old: &str, new: &str| GOOD.replace(old, new);
    let twice = format!("{GOOD}{GOOD}");
    let same_issuer = format!("{GOOD}{}", with("\"work\"", "\"other\""));
    for (toml, expected) in [
        (with("\"work\"", "\"Work!\""), "oidc: the id `Work!`"),
        (with("\"Work\"", "\"\""), "oidc.work.name"),
        (with("https://id.example", "http://id.example"), "oidc.work.issuer"),
        (with("https://id.example", "https://u:p@id.example"), "oidc.work.issuer"),
        (with("https://id.example", "https://id.example?a=b"), "oidc.work.issuer"),
        (with("https://id.example", "ftp://localhost"), "oidc.work.issuer"),
        (with("https://id.example", "http://127.0.0.1.example"), "oidc.work.issuer"),
        (format!("{GOOD}colour = 1\n"), "unknown field `colour`"),
        (format!("{GOOD}scopes = [\"a b\"]\n"), "oidc.work.scopes"),
        (format!("{GOOD}sign_up = \"perhaps\"\n"), "sign_up"),
        (format!("{GOOD}roles = {{default = \"enrol\"}}\n"), "oidc.work.roles"),
        (format!("{GOOD}sign_up = \"open\"\nroles = {{default = \"admin\"}}\n"), "oidc.work.roles.default"),
        (twice, "oidc.work: stands twice"),
        (same_issuer, "oidc.other.issuer: another provider has it"),
    ] {
        let error = load(&toml, &[]).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    for issuer in
        ["http://localhost:4000", "http://127.0.0.1:4000", "http://[::1]:4000/realms/a", "https://id.example/a"]
    {
        load(&with("https://id.example", issuer), &[]).unwrap();
    }
}

#[test]
fn the_public_address_is_an_origin() {
    for good in ["https://speech.example", "http://localhost:10000/", "https://[2001:db8::1]:8443"] {
        let settings = load("", &[("COSYGATE_PUBLIC_URL", good)]).unwrap();
        assert_eq!(settings.public_url.path(), "/");
    }
    for bad in
        ["speech.example", "ftp://speech.example", "https://u@h", "https://h/path", "https://h/?q", "https://h/#f"]
    {
        let error = load("", &[("COSYGATE_PUBLIC_URL", bad)]).unwrap_err();
        assert!(error.to_lowercase().contains("public_url"), "{error}");
    }
}
