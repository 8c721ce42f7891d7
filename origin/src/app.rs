//! Putting the parts together, serving, and stopping in good order.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gate::identity::KeyRing;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounts::{Passwords, fold_username};
use crate::blobs::{BlobError, Blobs};
use crate::caller::ADMIN_ROLE;
use crate::clock::{Clock, new_id};
use crate::config::Settings;
use crate::edge_config::EdgeConfig;
use crate::engine::{self, Engine, EngineKind};
use crate::guessing::Guard;
use crate::jobs::{self, Jobs};
use crate::keys::Master;
use crate::logins::Uses;
use crate::oidc::Providers;
use crate::outside::Outsiders;
use crate::passkeys::RelyingParty;
use crate::policy::{CenterError, PolicyCenter, PolicyFile};
use crate::problem::Refusal;
use crate::seal::Door;
use crate::shares::Passes;
use crate::store::{AuditEntry, Store, StoreError, User};
use crate::{audio, files, metrics_listener, routes, upkeep};

/// The parts of the running server.
pub struct App {
    /// Settings.
    pub settings: Settings,
    /// The time.
    pub clock: Clock,
    /// The database.
    pub store: Store,
    /// Audio.
    pub blobs: Blobs,
    /// Chooses and hashes passwords.
    pub passwords: Passwords,
    /// Bounds guesses at passwords.
    pub guard: Guard,
    /// Encrypts the secrets of one-time codes.
    pub vault: Master,
    /// Whom passkeys are made for.
    pub passkeys: RelyingParty,
    /// What those who opened a shared link show.
    pub passes: Passes,
    /// Providers of OpenID Connect.
    pub oidc: Providers,
    /// Users of other issuers.
    pub outsiders: Outsiders,
    /// The policy in force.
    pub policy: PolicyCenter,
    /// The speech engine.
    pub engine: Arc<dyn Engine>,
    /// Places for work on audio.
    pub audio: audio::Workers,
    /// Opens sealed identities.
    pub door: Door,
    /// When logins and personal access tokens were used last.
    pub uses: Uses,
    /// Who works on the queue here.
    pub jobs: Arc<Jobs>,
    /// Generations under way.
    pub tasks: TaskTracker,
    /// The server is on its way out.
    pub stopping: CancellationToken,
}

/// Why the server does not start or ended badly. One line each.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A file or folder.
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    /// A listener.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The audio folder.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The policy.
    #[error(transparent)]
    Policy(#[from] CenterError),
    /// The keys that seal identities.
    #[error("identity keys: {0}")]
    IdentityKeys(&'static str),
    /// The engine.
    #[error("{0}")]
    Engine(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// Opens the database that the settings name and brings its tables up to date.
///
/// # Errors
/// The data folder or the database.
pub async fn open_store(settings: &Settings) -> Result<Store, AppError> {
    make_folder(&settings.data)?;
    let store = match &settings.database_url {
        Some(url) => Store::open(url.reveal()).await?,
        None => Store::open_file(&settings.database_file()).await?,
    };
    store.migrate().await?;
    Ok(store)
}

/// Reads the key under which all others are kept, or makes it at the first start.
///
/// # Errors
/// The keys folder or the key.
pub fn open_master(settings: &Settings) -> Result<Master, AppError> {
    make_folder(&settings.keys_folder())?;
    let text = match &settings.master_key {
        Some(key) => key.reveal().to_owned(),
        None => {
            let file = settings.master_key_file();
            let made = files::read_or_make_secret(&file, || Master::generate() + "\n");
            made.map_err(|error| AppError::File(file, error))?
        }
    };
    Ok(Master::parse(&text).map_err(CenterError::from)?)
}

/// Opens the folder of audio, making it if need be.
///
/// # Errors
/// The folder.
pub fn open_blobs(settings: &Settings) -> Result<Blobs, AppError> {
    make_folder(&settings.blobs_folder())?;
    Ok(Blobs::open(&settings.blobs_folder())?)
}

impl App {
    /// Puts the server together; makes keys, tables, policy and administrator at the first start.
    ///
    /// # Errors
    /// See [`AppError`].
    pub async fn assemble(settings: Settings) -> Result<Self, AppError> {
        let engine = engine::build(&settings.engine).map_err(|error| AppError::Engine(error.to_string()))?;
        check_engine(engine.as_ref(), settings.engine.kind).await?;
        let store = open_store(&settings).await?;
        let passwords = Passwords::new(&settings.passwords).map_err(AppError::Other)?;
        let app = Self::with_parts(settings, Clock::system(), store, passwords, engine).await?;
        app.ensure_administrator().await?;
        Ok(app)
    }

    /// Puts the server together from parts that tests choose.
    ///
    /// # Errors
    /// See [`AppError`].
    pub async fn with_parts(
        settings: Settings,
        clock: Clock,
        store: Store,
        passwords: Passwords,
        engine: Arc<dyn Engine>,
    ) -> Result<Self, AppError> {
        let master = open_master(&settings)?;
        let (guard, vault, passes) = (Guard::new(&master), master.child("second factors"), Passes::new(&master));
        let oidc = Providers::new(&settings, &master).map_err(AppError::Other)?;
        let passkeys = RelyingParty::new(&settings.public_url, &master);
        let door = Door::new(open_identity_keys(&settings)?);
        let blobs = open_blobs(&settings)?;
        let edge = EdgeConfig {
            region: settings.region.clone(),
            filter_wasm: std::path::absolute(&settings.filter_wasm)
                .map_err(|error| AppError::File(settings.filter_wasm.clone(), error))?,
            file: settings.edge_file(),
        };
        let file = PolicyFile { path: settings.policy_file(), is_master: settings.policy_file.is_some() };
        let policy = PolicyCenter::start(file, edge, master, store.clone(), clock.clone()).await?;
        let jobs = Jobs::new(settings.engine.slots());
        Ok(Self {
            settings,
            clock,
            store,
            blobs,
            passwords,
            guard,
            vault,
            passkeys,
            passes,
            oidc,
            outsiders: Outsiders::default(),
            policy,
            engine,
            audio: audio::Workers::default(),
            door,
            uses: Uses::default(),
            jobs,
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        })
    }

    /// Makes the user `admin` when nobody administers yet. A generated password is left in a
    /// private file.
    async fn ensure_administrator(&self) -> Result<(), AppError> {
        if self.store.accounts().count_of_role(ADMIN_ROLE).await? > 0 {
            return Ok(());
        }
        let password = match &self.settings.admin_password {
            Some(password) => password.reveal().to_owned(),
            None => {
                let file = self.settings.admin_password_file();
                let password = files::read_or_make_secret(&file, || new_password() + "\n")
                    .map_err(|error| AppError::File(file.clone(), error))?;
                tracing::info!(file = %file.display(), "the first administrator's password is in this file");
                password.trim_end().to_owned()
            }
        };
        match add_user(&self.store, &self.passwords, &self.clock, "admin", ADMIN_ROLE, password, "origin").await {
            // Another origin was faster.
            Ok(_) | Err(AddUserError::Store(StoreError::Conflict)) => Ok(()),
            Err(AddUserError::Store(error)) => Err(error.into()),
            Err(AddUserError::Refused(reason)) => Err(AppError::Other(reason)),
        }
    }
}

/// Why an account was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddUserError {
    /// The name is taken or the database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Name or password are not good.
    #[error("{0}")]
    Refused(String),
}

/// Adds an account on the operator's behalf.
///
/// # Errors
/// See [`AddUserError`].
pub async fn add_user(
    store: &Store,
    passwords: &Passwords,
    clock: &Clock,
    username: &str,
    role: &str,
    password: String,
    via: impl Into<Cow<'static, str>>,
) -> Result<User, AddUserError> {
    let refused = |reason: &str| AddUserError::Refused(reason.to_owned());
    let username = fold_username(username).map_err(refused)?;
    let password = passwords.accept(&password, &username).map_err(AddUserError::Refused)?;
    let hash = passwords.hash(password).await;
    let now_ms = clock.now_ms();
    let user = User {
        id: new_id(now_ms),
        username,
        password_hash: hash.map_err(|refusal: Refusal| refused(&refusal.problem.detail))?,
        role: role.to_owned(),
        created_at: now_ms,
        disabled_at: None,
    };
    let audit = AuditEntry::of_system(now_ms, "user_add").on_user(&user.id).via(via);
    store.accounts().add(&user, &audit).await?;
    Ok(user)
}

/// A password that nobody guesses: 144 random bits.
pub fn new_password() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 18]>())
}

/// The keys of seals between edge and origin, which are made at the first start if the environment has none.
///
/// # Errors
/// They cannot be read.
pub fn open_identity_keys(settings: &Settings) -> Result<KeyRing, AppError> {
    let text = match &settings.identity_keys {
        Some(keys) => keys.reveal().to_owned(),
        None => {
            let file = settings.identity_keys_file();
            let make = || format!("k1:{}\n", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
            files::read_or_make_secret(&file, make).map_err(|error| AppError::File(file, error))?
        }
    };
    KeyRing::parse(&text).map_err(AppError::IdentityKeys)
}

/// Makes a private folder, if need be.
///
/// # Errors
/// The disk failed.
pub fn make_folder(folder: &Path) -> Result<(), AppError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| AppError::File(folder.to_owned(), error))
}

/// A missing program will not appear by itself; a server that is not up yet may.
async fn check_engine(engine: &dyn Engine, kind: EngineKind) -> Result<(), AppError> {
    match engine.check().await {
        Ok(()) => Ok(()),
        Err(error) if kind == EngineKind::Espeak => Err(AppError::Engine(error.to_string())),
        Err(error) => {
            tracing::warn!(%error, "the engine does not answer yet");
            Ok(())
        }
    }
}

/// Serves until `stop`, then drains: no new connections, what runs may end.
///
/// # Errors
/// A port is taken, or a listener failed.
pub async fn serve(app: Arc<App>, stop: CancellationToken) -> Result<(), AppError> {
    let listen = async |address| TcpListener::bind(address).await.map_err(|error| AppError::Listen(address, error));
    let main = listen(app.settings.origin_addr).await?;
    let metrics = listen(app.settings.metrics_addr).await?;
    let origin_addr = main.local_addr().map_or(app.settings.origin_addr, |address| address);
    let metrics_addr = metrics.local_addr().map_or(app.settings.metrics_addr, |address| address);
    tracing::info!(%origin_addr, %metrics_addr, engine = app.engine.name(), rev = app.policy.now().record.rev, "ready");

    upkeep::recover(&app).await?;
    let ended = CancellationToken::new();
    let background = TaskTracker::new();
    let (watching, keeping, looking) = (Arc::clone(&app), Arc::clone(&app), Arc::clone(&app));
    let (watch_until, keep_until, look_until, serve_until) =
        (ended.clone(), ended.clone(), ended.clone(), ended.clone());
    background.spawn(async move { watching.policy.follow(watch_until).await });
    background.spawn(async move { upkeep::run(&keeping, keep_until).await });
    background.spawn(async move { jobs::keep(&looking, look_until).await });
    jobs::start(&app);
    background.spawn(metrics_listener::keep(metrics_listener::install()?, ended.clone()));
    let metrics_router = metrics_listener::router(Arc::clone(&app))?;
    background.spawn(async move {
        let _ = axum::serve(metrics, metrics_router).with_graceful_shutdown(serve_until.cancelled_owned()).await;
    });

    let (drain_from, router) = (stop.clone(), routes::router(Arc::clone(&app)));
    let mut serving = tokio::spawn(async move {
        // Small answers must not wait for the next packet to fill (RFC 896).
        let main = main.tap_io(|stream| drop(stream.set_nodelay(true)));
        axum::serve(main, router).with_graceful_shutdown(drain_from.cancelled_owned()).await
    });
    tokio::select! {
        // Asked in this order, because an idle listener ends in the very moment of the signal.
        biased;
        () = stop.cancelled() => {}
        served = &mut serving => return Err(AppError::Other(format!("the listener ended: {served:?}"))),
    }
    app.stopping.cancel();
    tracing::info!(seconds = app.settings.drain_seconds, "stopping: what runs may end");
    let until = Instant::now() + Duration::from_secs(app.settings.drain_seconds);
    app.tasks.close();
    let is_drained = tokio::time::timeout_at(until, async {
        let _ = (&mut serving).await;
        app.tasks.wait().await;
    });
    if is_drained.await.is_err() {
        tracing::warn!(generations = app.tasks.len(), "stopped before everything had ended");
    }
    // Another origin, or the next start, makes them.
    match app.store.queue().hand_back(app.jobs.origin()).await {
        Ok(0) => {}
        Ok(generations) => tracing::warn!(generations, "handed back to the queue"),
        Err(error) => tracing::error!(%error, "generations could not be handed back; their leases will lapse"),
    }
    serving.abort();
    ended.cancel();
    background.close();
    upkeep::sign_audit(&app, app.clock.now_ms()).await;
    // The metrics listener may hold an idle connection; nothing waits for that.
    let _ = tokio::time::timeout(Duration::from_secs(1), background.wait()).await;
    let _ = tokio::time::timeout(Duration::from_secs(2), app.store.close()).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_app::TestApp;

    #[tokio::test(flavor = "multi_thread")]
    async fn stopping_when_idle_is_no_error() {
        for _ in 0..20 {
            let test_app = TestApp::new().await;
            let stop = CancellationToken::new();
            let serving = tokio::spawn(serve(Arc::clone(&test_app.app), stop.clone()));
            tokio::time::sleep(Duration::from_millis(5)).await;
            stop.cancel();
            serving.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let mut test_app = TestApp::new().await;
        test_app.settings_mut().metrics_addr = address;
        let error = serve(test_app.app, CancellationToken::new()).await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot listen on {address}: ")), "{error}");
    }
}
