//! Sends cases and gathers what came of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;

use super::http2;
use super::paths::may_mean;
use super::wire::{Answer, Wire, numbered};
use super::{CANARY, Case, Goal, MARK_HEADER, SMUGGLED, Shot, Site, identity};
use crate::echo::{Echo, Received};

/// How many connections carry well-formed requests, one after the other.
const SHARED: usize = 16;
/// How many connections carry one attack each, at a time. After a breach of protocol Envoy says
/// nothing and keeps the connection for a second, so most of them only wait.
const OWN: usize = 256;
/// How long after the last answer something may still arrive.
const LATE: Duration = Duration::from_millis(300);

/// What came of one case.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What the attacker got. Nothing if the connection ended.
    pub answers: Vec<Answer>,
    /// What the origin got.
    pub arrived: Vec<Received>,
}

/// What came of all of them.
pub struct Report {
    /// In the order of the cases.
    pub outcomes: Vec<Outcome>,
    /// What the origin got and no case can have sent as it is.
    pub strays: Vec<Received>,
}

/// Sends every case to the site; `echo` is the origin behind it, if it is ours.
pub async fn run(site: &Site, cases: &[Case], echo: Option<&Echo>) -> Report {
    let (shared, own): (Vec<usize>, Vec<usize>) =
        (0..cases.len()).partition(|number| matches!(cases[*number].shot, Shot::Http1(_)));
    let (next_shared, next_own) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let on_shared = join_all((0..SHARED).map(|_| async {
        let (mut done, mut wire) = (Vec::new(), None);
        while let Some(number) = shared.get(next_shared.fetch_add(1, Ordering::Relaxed)) {
            done.push((*number, one(site, &cases[*number].shot, *number, &mut wire).await));
        }
        done
    }));
    let on_own = join_all((0..OWN).map(|_| async {
        let mut done = Vec::new();
        while let Some(number) = own.get(next_own.fetch_add(1, Ordering::Relaxed)) {
            done.push((*number, one(site, &cases[*number].shot, *number, &mut None).await));
        }
        done
    }));
    let (on_shared, on_own) = futures::join!(on_shared, on_own);
    let mut outcomes = vec![Outcome::default(); cases.len()];
    for (number, answers) in on_shared.into_iter().chain(on_own).flatten() {
        outcomes[number].answers = answers;
    }
    let mut strays = Vec::new();
    match echo {
        Some(echo) => {
            tokio::time::sleep(LATE).await;
            for received in echo.take() {
                match number(&received).and_then(|number| outcomes.get_mut(number)) {
                    Some(outcome) => outcome.arrived.push(received),
                    None => strays.push(received),
                }
            }
        }
        // An echo may be there all the same; then its answers tell.
        None => outcomes.iter_mut().for_each(|outcome| {
            outcome.arrived =
                outcome.answers.iter().filter_map(|answer| serde_json::from_slice(&answer.body).ok()).collect();
        }),
    }
    Report { outcomes, strays }
}

/// The number of the case that a request belongs to.
fn number(received: &Received) -> Option<usize> {
    let digits = |text: &str| text.get(..8).and_then(|digits| digits.parse().ok());
    let hidden = received.target.split_once(&format!("{SMUGGLED}=")).and_then(|(_, rest)| digits(rest));
    hidden.or_else(|| received.values(MARK_HEADER).first().and_then(|value| digits(value)))
}

/// Sends one attack. `wire` is a connection for well-formed requests, if there is one already.
async fn one(site: &Site, shot: &Shot, number: usize, wire: &mut Option<Wire>) -> Vec<Answer> {
    match shot {
        Shot::Http1(bytes) => {
            if !wire.as_ref().is_some_and(Wire::is_open) {
                *wire = Wire::connect(site.address).await.ok();
            }
            let Some(wire) = wire else { return Vec::new() };
            wire.send(&numbered(bytes, number)).await;
            wire.answer(false).await.into_iter().collect()
        }
        Shot::Raw(bytes) => {
            let Ok(mut wire) = Wire::connect(site.address).await else { return Vec::new() };
            wire.send(&numbered(bytes, number)).await;
            wire.answers(bytes.starts_with(b"HEAD ")).await
        }
        Shot::Http2(stream) => vec![http2::send(site.address, stream, number).await],
    }
}

/// Whether the attack got what it wanted.
pub fn is_through(site: &Site, case: &Case, outcome: &Outcome) -> bool {
    let (arrived, answers) = (&outcome.arrived, &outcome.answers);
    let succeeds = |answer: &&Answer| answer.is_success() && site.nowhere.as_ref() != Some(&answer.body);
    match &case.goal {
        Goal::Arrive if site.echo => !arrived.is_empty(),
        Goal::Arrive => answers.iter().any(|answer| succeeds(&answer)),
        Goal::Claim { user } => {
            let told = answers.iter().any(|answer| answer.is_success() && !site.echo && holds(&answer.body, CANARY));
            told || arrived.iter().any(|received| claims(received, user.as_deref()))
        }
        Goal::Become { victim } => arrived.iter().any(|received| is_somebody_else(received, victim)),
        Goal::Path(path) if site.echo => arrived.iter().any(|received| may_mean(&received.target, path)),
        Goal::Path(_) => answers.iter().any(|answer| succeeds(&answer)),
        Goal::Smuggle => {
            let hidden = arrived.iter().any(|received| received.target.contains(SMUGGLED));
            let successes = answers.iter().filter(succeeds).count();
            hidden || if site.echo { arrived.len() > answers.len().max(1) } else { successes > 1 }
        }
        Goal::Fetch => false,
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(bytes).contains(text)
}

/// The canary in any header but those that are the client's own affair, or an identity that is
/// not the one user's.
fn claims(received: &Received, user: Option<&str>) -> bool {
    let own = |name: &str| matches!(name, MARK_HEADER | "x-innocent" | "cookie");
    let fields = received.headers.iter().chain(&received.trailers);
    let claimed =
        fields.filter(|(name, _)| !own(name)).any(|(name, value)| name.contains(CANARY) || value.contains(CANARY));
    let users = received.values("x-user-id");
    claimed || user.is_some_and(|user| users != [user])
}

/// More than one user or role, another role, or the victim.
fn is_somebody_else(received: &Received, victim: &str) -> bool {
    let names = ["x-user-id", "x-user-role", "x-cosygate-identity"];
    let odd = identity(received).iter().any(|(name, value)| !names.contains(name) || value.contains(CANARY));
    let (users, roles) = (received.values("x-user-id"), received.values("x-user-role"));
    odd || users.len() != 1 || roles != ["free"] || users.iter().any(|user| user.trim_matches([' ', '\t']) == victim)
}

#[cfg(test)]
mod tests {
    use super::super::Family;
    use super::*;

    const FAMILY: Family = Family { name: "", through: "" };

    fn received(target: &str, headers: &[(&str, &str)]) -> Received {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Received { method: "GET".to_owned(), target: target.to_owned(), headers, trailers: Vec::new(), body_bytes: 0 }
    }

    fn judge(goal: Goal, arrived: Vec<Received>, statuses: &[u16]) -> bool {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let (host, path) = ("h".to_owned(), "/api/me".to_owned());
        let site = Site { address, host, path, open: None, token: None, user: None, echo: true, nowhere: None };
        let case = Case { family: &FAMILY, name: String::new(), shot: Shot::Raw(Vec::new()), goal, code: None };
        let answers = statuses.iter().map(|status| Answer { status: *status, ..Answer::default() }).collect();
        is_through(&site, &case, &Outcome { answers, arrived })
    }

    #[test]
    fn what_counts_is_what_the_origin_saw() {
        let ada = [("x-user-id", "ada"), ("x-user-role", "free"), ("x-cosygate-identity", "x")];
        let with = |name, value| received("/api/me", &[&ada[..], &[(name, value)]].concat());
        let plain = || received("/api/me", &ada);
        assert!(!judge(Goal::Arrive, vec![], &[200]) && judge(Goal::Arrive, vec![plain()], &[401]));

        let claim = |received| judge(Goal::Claim { user: Some("ada".to_owned()) }, vec![received], &[200]);
        assert!(!claim(plain()) && !claim(with("x-innocent", CANARY)));
        assert!(claim(with("x.user.id", CANARY)) && claim(with("x-user-id", "ada")) && claim(received("/api/me", &[])));
        let trailers = vec![("x-user-id".to_owned(), CANARY.to_owned())];
        assert!(claim(Received { trailers, ..plain() }));

        let become_bob = |received| judge(Goal::Become { victim: "bob".to_owned() }, vec![received], &[200]);
        assert!(!become_bob(plain()));
        assert!(become_bob(with("x-user-id", "bob")) && become_bob(with("x-user-role", "admin")));
        let spaced = [("x-user-id", "bob "), ("x-user-role", "free")];
        assert!(become_bob(received("/api/me", &spaced)) && become_bob(with("x-user-email", "x")));

        let path = |target| judge(Goal::Path("/api/me".to_owned()), vec![received(target, &[])], &[200]);
        assert!(!path("/") && path("/x/..%2fapi/me"));

        let smuggle = |targets: &[&str], statuses: &[u16]| {
            let arrived = targets.iter().map(|target| received(target, &[])).collect();
            judge(Goal::Smuggle, arrived, statuses)
        };
        assert!(!smuggle(&["/login"], &[200, 401]) && !smuggle(&["/login"], &[]));
        assert!(smuggle(&["/api/me?smuggled=00000001"], &[200]) && smuggle(&["/login", "/login"], &[200]));
    }

    #[test]
    fn what_arrives_finds_its_case() {
        let marked = |target: &str, mark: &str| number(&received(target, &[(MARK_HEADER, mark)]));
        assert_eq!(marked("/", "00000012"), Some(12));
        assert_eq!(marked("/", "00000012 x-user-id: folded"), Some(12));
        assert_eq!(marked("/?smuggled=00000013", "00000012"), Some(13));
        assert_eq!(number(&received("/", &[])), None);
    }
}
