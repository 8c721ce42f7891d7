//! Shared links, through the edge: nobody guesses one, each opens one output, and its end is its end at every edge.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tests::attack::mint::part;
use tests::attack::wire::{Wire, request};
use tests::edge::Edge;
use tests::scripted::{eventually, everywhere};
use tests::world::{User, World, roomy};

use crate::fleet::another_edge;
use crate::times::{clock_library, set_clock};

/// How many connections guess.
const CONNECTIONS: usize = 16;
/// What the project promises of an end.
const SOON: Duration = Duration::from_secs(2);

struct Link {
    id: String,
    output: String,
    /// `/s/…`
    path: String,
}

impl Link {
    fn secret(&self) -> &str {
        &self.path["/s/".len()..]
    }
}

async fn share(world: &World, user: &User, text: &str, more: Value) -> Link {
    let output = world.generate(user, text).await["id"].as_str().unwrap().to_owned();
    let mut wish = json!({"expires_in_s": 3600});
    wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = world.post_as(user, &format!("/api/outputs/{output}/share"), wish).await;
    assert_eq!(made.status(), StatusCode::CREATED);
    let made: Value = made.json().await.unwrap();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    Link { id: text("id"), path: text("path"), output }
}

async fn listen(edge: &Edge, path: &str, cookie: Option<&str>) -> Response {
    // Where there is a password to be asked for, the answer says so, and is not followed.
    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let request = client.get(format!("{}{path}", edge.url));
    let request = cookie.into_iter().fold(request, |request, cookie| request.header("cookie", cookie));
    request.send().await.unwrap()
}

/// What a stranger tries who knows the form of a link, and even most of this one.
fn guess(number: usize, link: &Link) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (right, near) = (link.secret(), number / 8);
    let random = part(<sha2::Sha256 as sha2::Digest>::digest(number.to_be_bytes()));
    let guess = match number % 8 {
        // One letter is another one.
        0 => {
            let at = near % right.len();
            let other = LETTERS[near / right.len() % 64] as char;
            let other = if right[at..].starts_with(other) { '~' } else { other };
            format!("{}{other}{}", &right[..at], &right[at + 1..])
        }
        1 => format!("{}{}", &right[..near % 40], &random[near % 40..]),
        2 => match near % 6 {
            0 => right[..near % right.len()].to_owned(),
            1 => format!("{right}{}", &random[..1 + near % 20]),
            2 => right.to_uppercase(),
            3 => format!("{right}="),
            4 => link.id.clone(),
            _ => link.output.clone(),
        },
        _ => random,
    };
    format!("/s/{guess}{}", if number.is_multiple_of(3) { "/audio" } else { "" })
}

/// Guesses so often; how many answers were of which status: not there, told to wait, anything else.
async fn guesses(world: &World, link: &Link, count: usize) -> [usize; 3] {
    let next = AtomicUsize::new(0);
    let each = join_all((0..CONNECTIONS).map(|_| async {
        let (mut seen, mut wire) = ([0; 3], Wire::connect(world.edge.address).await.unwrap());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return seen;
            }
            wire.send(&request("GET", guess(number, link), "localhost").bytes()).await;
            let answer = wire.answer(false).await.unwrap_or_else(|| panic!("no answer to guess {number}"));
            seen[match answer.status {
                404 => 0,
                429 => 1,
                _ => 2,
            }] += 1;
        }
    }))
    .await;
    each.into_iter().fold([0; 3], |all, one| [0, 1, 2].map(|at| all[at] + one[at]))
}

/// So many guesses, with and without the limit of an address.
async fn hit_nothing(count: usize) {
    let world = World::start().await;
    let ada = world.user("ada").await;
    let link = share(&world, &ada, "For whoever has the link.", json!({})).await;
    let [missing, told_to_wait, other] = guesses(&world, &link, 300).await;
    assert_eq!((missing + told_to_wait, other), (300, 0));
    assert!(told_to_wait > 100, "an address may guess as it likes: {missing} of 300 times");
    world.edit_policy(roomy);
    let is_heard = async || listen(&world.edge, "/s/x", None).await.status() == StatusCode::NOT_FOUND;
    eventually("no limit", async || everywhere(is_heard).await).await;
    let began = Instant::now();
    assert_eq!(guesses(&world, &link, count).await, [count, 0, 0]);
    let rate = count as f64 / began.elapsed().as_secs_f64();
    println!("{count} guesses, 0 hits, {rate:.0} a second");
    let heard = listen(&world.edge, &format!("{}/audio", link.path), None).await;
    assert_eq!(heard.status(), StatusCode::OK, "and whoever has the link hears it");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_guesses_hit_nothing() {
    hit_nothing(2_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: scripts/attack shares"]
async fn a_million_guesses_hit_nothing() {
    hit_nothing(1_000_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_was_ended_is_dead_at_every_edge() {
    let world = World::with(roomy, &[]).await;
    let second = another_edge(&world, "edge-2", &[]).await;
    let admin = world.admin().await;
    let mut slowest = Duration::ZERO;
    for (number, way) in ["the link", "the output", "the account"].into_iter().enumerate() {
        let ada = world.user(&format!("ada{number}")).await;
        let link = share(&world, &ada, "For a while.", json!({})).await;
        let audio = format!("{}/audio", link.path);
        let mut listeners = Vec::new();
        for edge in [&world.edge, &second] {
            let begun = listen(edge, &audio, None).await;
            assert_eq!(begun.status(), StatusCode::OK);
            // Whoever has begun to listen may read on, as long as the link lives.
            let pass = begun.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
            listeners.extend([(edge, &link.path, None), (edge, &audio, None), (edge, &audio, Some(pass))]);
        }
        let ended = match way {
            "the link" => world.delete_as(&ada, &format!("/api/shares/{}", link.id)).await,
            "the output" => world.delete_as(&ada, &format!("/api/outputs/{}", link.output)).await,
            _ => {
                let path = format!("/api/admin/users/{}", ada.id);
                let request = world.request(reqwest::Method::PATCH, &path).bearer_auth(&admin.token);
                request.json(&json!({"disabled": true})).send().await.unwrap()
            }
        };
        assert!(ended.status().is_success(), "{way}");
        let since = Instant::now();
        for (edge, path, pass) in &listeners {
            while listen(edge, path, pass.as_deref()).await.status() != StatusCode::NOT_FOUND {
                assert!(since.elapsed() < SOON, "{path} lives on after {way} was ended");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        slowest = slowest.max(since.elapsed());
    }
    println!("an ended link was last asked for, in vain, {slowest:.1?} after its end");
}

/// The clocks of origin and edge go on by an hour.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_ends_when_it_was_said_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, library) = (folder.path().join("clock"), clock_library(folder.path()));
    set_clock(&clock, "+0");
    let variables = [("LD_PRELOAD", library.to_str().unwrap()), ("CLOCK_OFFSET_FILE", clock.to_str().unwrap())];
    let world = World::with(roomy, &variables).await;
    let edge = another_edge(&world, "edge-2", &variables).await;
    let ada = world.user("ada").await;
    let link = share(&world, &ada, "For an hour.", json!({"expires_in_s": 3600})).await;
    let audio = format!("{}/audio", link.path);
    let begun = listen(&edge, &audio, None).await;
    let pass = begun.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    for (offset, status) in [("+0", 200), ("+3300", 200), ("+3601", 404)] {
        set_clock(&clock, offset);
        for (path, pass) in [(&link.path, None), (&audio, None), (&audio, Some(pass.as_str()))] {
            // An edge whose clock has moved asks for a bundle before it judges again.
            eventually(&format!("{status} after {offset} s"), async || {
                listen(&edge, path, pass).await.status().as_u16() == status
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_link_opens_one_output_and_nothing_else() {
    let world = World::with(roomy, &[]).await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let open = share(&world, &ada, "The one that is meant.", json!({})).await;
    let locked = share(&world, &ada, "Another one, which is not.", json!({"password": "something long"})).await;
    let his = share(&world, &bob, "Somebody else's.", json!({})).await;
    let (secret, edge) = (open.secret(), &world.edge);
    let meant = world.get_as(&ada, &format!("/download/{}", open.output)).await.bytes().await.unwrap();
    let begun = listen(edge, &format!("{}/audio", open.path), None).await;
    let pass = begun.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert!(begun.bytes().await.unwrap() == meant);

    let (output, id) = (&locked.output, &locked.id);
    for path in [
        format!("/s/{secret}/{output}"),
        format!("/s/{secret}/audio/{output}"),
        format!("/s/{output}"),
        format!("/s/{output}/audio"),
        format!("/s/{secret}/audio?output={output}"),
        format!("/s/{secret}/audio?id={output}"),
        format!("/s/{secret}/audio?secret={}", his.secret()),
        format!("/s/{secret}%2f..%2f{}/audio", locked.secret()),
        format!("/download/{}", open.output),
        format!("/download/{}?secret={secret}", open.output),
        format!("/download/{output}?share={id}"),
        format!("/api/outputs/{}", open.output),
        format!("/api/shares/{}", open.id),
        "/api/shares".to_owned(),
        "/api/me".to_owned(),
    ] {
        for credential in ["", secret, &pass] {
            let request = Client::new().get(format!("{}{path}", edge.url)).header("cookie", &pass);
            let request = if credential.is_empty() { request } else { request.bearer_auth(credential) };
            let status = request.send().await.unwrap().status();
            assert!(status.is_client_error(), "{path} with {credential:?}: {status}");
        }
    }
    // A pass of one link is none at another.
    let unlocked = listen(edge, &format!("{}/audio", locked.path), Some(&pass)).await;
    assert_eq!(unlocked.status(), StatusCode::SEE_OTHER, "the password comes first");
    // With somebody's own token the link is what it was, and no more.
    let as_bob = world.get_as(&bob, &format!("{}/audio", open.path)).await;
    assert!(as_bob.bytes().await.unwrap() == meant);
    assert_eq!(world.delete_as(&bob, &format!("/api/shares/{}", open.id)).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(world.get_as(&bob, &format!("/download/{}", open.output)).await.status(), StatusCode::NOT_FOUND);
}
