//! `cosygate token …`.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use gate::bundle::Standing;
use gate::cache::TokenCache;
use gate::claims::invalid;
use gate::headers::Seen;
use gate::policy::{CompiledIssuer, Document, Route};
use gate::token::{self, Jws};
use gate::{Code, Gate, Problem, Request, Verdict, judge};
use origin::app;
use origin::config::Settings;
use origin::keys;
use origin::policy::environment_secret;
use serde_json::{Value, json};

/// No token that is looked at is longer.
const MAX_INPUT_BYTES: u64 = 64 * 1024;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Judge a token, from standard input, as the edge would. Prints the verdict; exit code 0 if it
    /// holds, 1 if not.
    #[command(after_help = "Example: cosygate token verify --policy policy.json --now 1795435200 < token")]
    Verify {
        /// The policy to judge by. Where it says `"from": "origin"`, the keys are those of the
        /// database.
        #[arg(long, value_name = "FILE")]
        policy: PathBuf,
        /// The time to judge at, in seconds since the epoch.
        #[arg(long, value_name = "UNIX", required_unless_present = "jws")]
        now: Option<u64>,
        /// Judge any signed text, whose payload need not be claims: its form, algorithm and
        /// signature alone, by the keys of every issuer that allows the algorithm.
        #[arg(long, conflicts_with_all = ["now", "path"])]
        jws: bool,
        /// Judge a call of this path; default: the token alone.
        #[arg(long)]
        path: Option<String>,
        /// The method of the call.
        #[arg(long, default_value = "GET", requires = "path")]
        method: String,
    },
}

pub(crate) async fn run(settings: &Settings, command: Command) -> anyhow::Result<ExitCode> {
    let Command::Verify { policy, now, jws, path, method } = command;
    let mut document =
        Document::parse(&super::read(&policy)?).with_context(|| format!("{} is not valid", policy.display()))?;
    if settings.database_url.is_some() || settings.database_file().exists() {
        let store = app::open_store(settings).await?;
        if let Some(keys) = keys::published(&store).await? {
            document = document.with_origin_keys(&keys);
        }
        store.close().await;
    }
    if path.is_none() {
        let roles = document.roles.keys().cloned().collect();
        document.routes =
            vec![Route { path: Some("/".to_owned()), methods: vec!["GET".to_owned()], roles, ..Route::default() }];
    }
    let gate =
        Gate::new(&document, &environment_secret).with_context(|| format!("{} is not valid", policy.display()))?;
    // Never an argument: those are for every user of the machine to see.
    let mut token = String::new();
    std::io::stdin().take(MAX_INPUT_BYTES).read_to_string(&mut token)?;
    let token = token.trim();
    if jws {
        let (verdict, code) = describe_jws(judge_jws(&gate, token));
        super::print_json(&verdict)?;
        return Ok(code);
    }
    let bearer = format!("Bearer {token}");
    let target = path.as_deref().unwrap_or("/");
    let headers = [(":method", method.as_bytes()), (":path", target.as_bytes()), ("authorization", bearer.as_bytes())];
    let request = Request {
        seen: &Seen::new(&headers),
        address: &|| "127.0.0.1".to_owned(),
        used_up: &|_| None,
        standing: Standing::default(),
    };
    let (verdict, code) = describe(judge(&gate, &mut TokenCache::default(), request, now.unwrap_or_default()));
    super::print_json(&verdict)?;
    Ok(code)
}

fn describe(verdict: Verdict<'_>) -> (Value, ExitCode) {
    match verdict {
        Verdict::Pass(pass) => {
            let caller = pass.caller.as_deref();
            let verdict = json!({
                "verdict": "pass",
                "user_id": caller.map(|caller| &caller.user_id),
                "issuer": caller.map(|caller| &caller.issuer),
                "role": caller.map(|caller| &caller.role),
                "scope": caller.map(|caller| &caller.scope),
            });
            (verdict, ExitCode::SUCCESS)
        }
        Verdict::Preflight(_) => (json!({"verdict": "preflight"}), ExitCode::SUCCESS),
        Verdict::Refuse(refusal) => describe_refusal(&refusal.problem),
    }
}

fn describe_refusal(problem: &Problem) -> (Value, ExitCode) {
    let verdict = json!({
        "verdict": "refuse",
        "status": problem.code.status(),
        "code": problem.code.as_str(),
        "detail": problem.detail,
        "cause": problem.cause,
    });
    (verdict, ExitCode::FAILURE)
}

/// Finds the first issuer whose keys verify the text. Nothing in it says whose it is, so all who
/// allow its algorithm are asked.
fn judge_jws<'a>(gate: &'a Gate, text: &'a str) -> Result<(&'a CompiledIssuer, Jws<'a>), Problem> {
    let jws = token::parse(text).map_err(invalid)?;
    let asked: Vec<&CompiledIssuer> =
        gate.issuers.iter().filter(|issuer| issuer.settings.algorithms.contains(&jws.algorithm)).collect();
    if asked.is_empty() {
        return Err(invalid("alg is not allowed for any issuer"));
    }
    let key_id = jws.key_id.as_deref();
    match asked.iter().find(|issuer| issuer.keys.verify(jws.algorithm, key_id, jws.signed, &jws.signature)) {
        Some(issuer) => Ok((issuer, jws)),
        // Without the keys of one of them, a refusal would say more than is known.
        None if asked.iter().any(|issuer| issuer.keys.is_empty()) => {
            Err(Problem::new(Code::KeysUnavailable, "The token cannot be checked right now."))
        }
        None => Err(invalid("signature does not hold")),
    }
}

fn describe_jws(judged: Result<(&CompiledIssuer, Jws<'_>), Problem>) -> (Value, ExitCode) {
    match judged {
        Ok((issuer, jws)) => {
            let verdict = json!({
                "verdict": "pass",
                "issuer": issuer.settings.issuer,
                "algorithm": jws.algorithm,
                "key_id": jws.key_id,
            });
            (verdict, ExitCode::SUCCESS)
        }
        Err(problem) => describe_refusal(&problem),
    }
}
