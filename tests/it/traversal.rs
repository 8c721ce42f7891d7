//! Names that lead elsewhere and text that ends a header, wherever a client may write: nothing of another user or of the
//! machine comes back, no header that nobody meant, and no failure.

mod places;
mod spellings;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures::future::join_all;
use serde_json::{Value, json};
use tests::attack::wire::{Answer, Wire};
use tests::world::{User, World, roomy};

use places::{Place, places};
use spellings::{INJECTED, line_breaks, paths};

/// Stands in what nobody else may read.
const MARK: &[u8] = b"zinnoberrot";
/// How many connections ask.
const CONNECTIONS: usize = 16;

/// Two users, and things that he must not get.
struct Scene {
    world: World,
    ada: User,
    places: Vec<Place>,
    /// Each of them in no answer.
    guarded: Vec<Vec<u8>>,
    hers: Value,
    output: String,
}

impl Scene {
    async fn start() -> Self {
        let many = |policy: &mut Value| {
            roomy(policy);
            policy["roles"]["free"]["voices"] = json!(500);
        };
        let world = World::with(many, &[]).await;
        let (ada, bob) = (world.user("ada").await, world.user("bob").await);
        let output = world.generate(&ada, "Hers alone: zinnoberrot.").await["id"].as_str().unwrap().to_owned();
        let sound = world.get_as(&ada, &format!("/download/{output}")).await.bytes().await.unwrap();
        let middle = sound[sound.len() / 2..][..64].to_vec();
        assert!(middle.iter().any(|byte| *byte != middle[0]), "silence is no mark");
        let own = world.generate(&bob, "His own.").await["id"].as_str().unwrap().to_owned();
        for place in ["../outside.txt", "inside.txt", "blobs/inside.txt", "blobs/users/inside.txt"] {
            std::fs::write(world.data().join(place), MARK).unwrap();
        }
        for user in [&ada, &bob] {
            let folder = world.data().join(format!("blobs/users/{}", user.id));
            assert!(folder.is_dir());
            std::fs::write(folder.join("inside.txt"), MARK).unwrap();
        }
        let guarded = vec![MARK.to_vec(), middle, b"root:x:0:0".to_vec(), b"COSYGATE_IDENTITY_KEYS".to_vec()];
        let hers = world.get_as(&ada, "/api/outputs").await.json().await.unwrap();
        let places = places(&bob, &own, crate::engines::recording(2));
        Self { world, ada, places, guarded, hers, output }
    }

    fn spellings(&self) -> Vec<String> {
        let folder = self.world.data().parent().unwrap().to_str().unwrap().trim_start_matches('/').to_owned();
        paths(&folder, &self.ada.id, &self.output)
    }

    /// Sends all of these and looks at every answer; how often each status came.
    async fn send(&self, requests: &[(usize, &str)]) -> BTreeMap<u16, usize> {
        let next = AtomicUsize::new(0);
        let counts = join_all((0..CONNECTIONS).map(|_| async {
            let (mut counts, mut wire) = (BTreeMap::new(), None);
            while let Some((place, text)) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                let place = &self.places[*place];
                let answer = self.one(place, text, &mut wire).await;
                self.look_at(place, text, &answer);
                *counts.entry(answer.status).or_default() += 1;
            }
            counts
        }))
        .await;
        counts.into_iter().flatten().fold(BTreeMap::new(), |mut all, (status, count): (u16, usize)| {
            *all.entry(status).or_default() += count;
            all
        })
    }

    /// One request; on the same connection as the one before, if that is still open.
    async fn one(&self, place: &Place, text: &str, wire: &mut Option<Wire>) -> Answer {
        let bytes = place.request(text).bytes();
        for _ in 0..3 {
            if !wire.as_ref().is_some_and(Wire::is_open) {
                *wire = Some(Wire::connect(self.world.edge.address).await.unwrap());
            }
            let wire = wire.as_mut().unwrap();
            wire.send(&bytes).await;
            if let Some(answer) = wire.answer(place.name.starts_with("HEAD ")).await {
                return answer;
            }
        }
        panic!("{}: no answer to {text:?}", place.name);
    }

    fn look_at(&self, place: &Place, text: &str, answer: &Answer) {
        let what = || format!("{}: {text:?} is answered {} {:?}", place.name, answer.status, answer.headers);
        let body = String::from_utf8_lossy(&answer.body);
        assert!((200..500).contains(&answer.status), "{} {body}\n{}", what(), self.world.origin.log());
        for secret in &self.guarded {
            assert!(!holds(&answer.body, secret), "{} with what is guarded", what());
        }
        for (name, value) in &answer.headers {
            assert!(!name.contains(INJECTED) && !value.to_lowercase().contains(INJECTED), "{}", what());
            assert!(!holds(value.as_bytes(), MARK), "{}", what());
        }
    }

    /// What is hers is as it was.
    async fn assert_untouched(&mut self) {
        let now: Value = self.world.get_as(&self.ada, "/api/outputs").await.json().await.unwrap();
        assert_eq!(now, self.hers);
        for place in ["../outside.txt", "inside.txt", "blobs/inside.txt"] {
            assert_eq!(std::fs::read(self.world.data().join(place)).unwrap(), MARK, "{place}");
        }
        let audio = self.world.get_as(&self.ada, &format!("/download/{}", self.output)).await;
        assert!(holds(&audio.bytes().await.unwrap(), &self.guarded[1]));
        assert!(self.world.origin.is_running() && !self.world.origin.log().contains("panicked"));
    }
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == what[0]) {
        if rest[at..].starts_with(what) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_names_lead_nowhere() {
    let mut scene = Scene::start().await;
    let spellings = scene.spellings();
    assert!(spellings.len() > 23_058, "only {}", spellings.len());
    // Each name at one place, each place with names of every kind.
    let places = scene.places.len();
    let requests: Vec<_> = spellings.iter().enumerate().map(|(at, text)| (at % places, text.as_str())).collect();
    let began = Instant::now();
    let seen = scene.send(&requests).await;
    println!("{} names at {places} places in {:.1?}: {seen:?}", spellings.len(), began.elapsed());
    scene.assert_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half an hour: scripts/attack paths"]
async fn every_name_leads_nowhere_from_every_place() {
    let mut scene = Scene::start().await;
    let spellings = scene.spellings();
    for place in 0..scene.places.len() {
        let requests: Vec<_> = spellings.iter().map(|text| (place, text.as_str())).collect();
        let seen = scene.send(&requests).await;
        println!("{}: {} names, {seen:?}", scene.places[place].name, spellings.len());
    }
    scene.assert_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_becomes_a_header() {
    let mut scene = Scene::start().await;
    let (breaks, places) = (line_breaks(), scene.places.len());
    let mut sent = 0;
    for place in 0..places {
        for text in &breaks {
            // A connection of its own, to its end: whatever comes behind the first answer would be seen.
            let mut wire = Wire::connect(scene.world.edge.address).await.unwrap();
            wire.send(&scene.places[place].request(text).close().bytes()).await;
            let answers = wire.answers(scene.places[place].name.starts_with("HEAD ")).await;
            assert!(!answers.is_empty(), "{}: no answer to {text:?}", scene.places[place].name);
            answers.iter().for_each(|answer| scene.look_at(&scene.places[place], text, answer));
            sent += 1;
        }
    }
    println!("{sent} requests with a line break where none belongs");
    scene.assert_untouched().await;
}

/// What was kept with such a text in it comes back in no header, either.
#[tokio::test(flavor = "multi_thread")]
async fn no_text_that_was_kept_becomes_a_header() {
    let scene = Scene::start().await;
    let world = &scene.world;
    let carla = world.user("carla").await;
    let mut kept = 0;
    for text in line_breaks() {
        let mut paths = vec!["/api/outputs".to_owned(), "/api/voices".to_owned(), "/api/shares".to_owned()];
        let mut ended = Vec::new();
        let body = json!({"text": format!("One. {text}"), "instruct": null});
        let spoken: Value = world.post_as(&carla, "/api/generate", body).await.json().await.unwrap();
        if let Some(id) = spoken["id"].as_str() {
            let share = world.post_as(&carla, &format!("/api/outputs/{id}/share"), json!({"expires_in_s": 60})).await;
            let share: Value = share.json().await.unwrap();
            paths.extend(["", "?download=1", "?format=mp3"].map(|query| format!("/download/{id}{query}")));
            if let Some(link) = share["path"].as_str() {
                paths.extend([link.to_owned(), format!("{link}/audio?download=1")]);
                ended.push(format!("/api/shares/{}", share["id"].as_str().unwrap()));
            }
        }
        let name: String = text.chars().take(64).collect();
        let made = crate::voices::upload(world, &carla, &name, crate::engines::recording(2)).await;
        let made: Value = made.json().await.unwrap();
        paths.extend(made["preview_url"].as_str().map(str::to_owned));
        for path in &paths {
            let answer = world.get_as(&carla, path).await;
            assert!(!answer.status().is_server_error(), "{path}");
            let headers = format!("{:?}", answer.headers()).to_lowercase();
            assert!(!headers.contains(INJECTED), "{path} after {text:?}: {headers}");
        }
        for path in ended {
            assert_eq!(world.delete_as(&carla, &path).await.status(), 204, "{path}");
        }
        kept += paths.len() - 3;
    }
    println!("{kept} answers about what was kept");
    assert!(kept > 100, "{kept}");
}
