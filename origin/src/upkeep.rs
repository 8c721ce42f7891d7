//! The housekeeper: once a minute it ends what has run out.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::audit;
use crate::days::{Day, KEPT_DAYS};
use crate::jobs;
use crate::privacy;
use crate::problem::Refusal;
use crate::store::StoreError;

const EVERY: Duration = Duration::from_secs(60);
const DAY_MS: i64 = 86_400_000;
/// How many rows one statement handles.
const STEP: i64 = 1000;
/// How long ended logins are still shown.
const SHOW_ENDED_MS: i64 = 7 * DAY_MS;
/// How long a job is remembered after its end, and with it its idempotency key.
const JOBS_KEPT_MS: i64 = DAY_MS;
/// Whoever marked audio removes it at once; the housekeeper only takes what is left.
const OTHERS_TURN_MS: i64 = 30_000;

/// Ends what an earlier process that was killed left under way, where it cannot be another
/// process's. For the start, before the first request.
///
/// # Errors
/// The database failed.
pub async fn recover(app: &App) -> Result<(), StoreError> {
    if app.store.is_exclusive() {
        let now_ms = app.clock.now_ms();
        jobs::take_up(app, i64::MAX).await?;
        remove_discarded(app, now_ms).await?;
        app.store.upkeep().fail_running_exports().await?;
    }
    Ok(())
}

/// Works until `stop`.
pub async fn run(app: &App, stop: CancellationToken) {
    loop {
        report(once(app).await);
        if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            break;
        }
    }
}

fn report(result: Result<(), Refusal>) {
    if let Err(error) = result {
        tracing::error!(cause = error.cause, "upkeep failed; the next round tries again");
    }
}

/// One round.
///
/// # Errors
/// The database failed. The next round tries again.
pub async fn once(app: &App) -> Result<(), Refusal> {
    let now_ms = app.clock.now_ms();
    let upkeep = app.store.upkeep();
    let policy = app.policy.now();
    for (name, role) in &policy.document.roles {
        let before = now_ms.saturating_sub(i64::from(role.retention_days).saturating_mul(DAY_MS));
        while upkeep.retire_outputs(name, before, now_ms).await? > 0 {}
    }
    remove_discarded(app, now_ms.saturating_sub(OTHERS_TURN_MS)).await?;
    app.store.logins().note_use(&app.uses.take()).await?;
    while app.store.logins().forget(now_ms, now_ms.saturating_sub(SHOW_ENDED_MS)).await? > 0 {}
    app.store.forget_tokens(now_ms).await?;
    app.store.control().forget_revocations(now_ms).await?;
    app.store.issued().forget(now_ms).await?;
    app.store.guesses().forget(now_ms).await?;
    app.store.passkeys().forget(now_ms).await?;
    app.store.invitations().forget(now_ms).await?;
    while app.store.identities().forget(now_ms).await? > 0 {}
    while app.store.share_links().forget(now_ms).await? > 0 {}
    app.store.control().forget_edges(now_ms.saturating_sub(DAY_MS)).await?;
    while app.store.trail().forget_personal(now_ms.saturating_sub(audit::PERSONAL_DAYS * DAY_MS), STEP).await? > 0 {}
    privacy::finish_erasures(app, now_ms).await?;
    privacy::remove_old_exports(app, now_ms).await?;
    sign_audit(app, now_ms).await;
    while upkeep.forget_jobs(now_ms.saturating_sub(JOBS_KEPT_MS)).await? > 0 {}
    upkeep.forget_usage_before(&Day::at(chrono_tz::Tz::UTC, now_ms).first_of(KEPT_DAYS)).await?;
    Ok(())
}

/// Signs for what the audit has become. That rows are gone is no reason to stop serving, but one to
/// wake somebody.
pub async fn sign_audit(app: &App, now_ms: i64) {
    let file = app.settings.audit_file();
    let signed = audit::checkpoint(&app.store, app.policy.master_key(), &file, now_ms).await;
    metrics::gauge!("cosygate_audit_broken").set(if matches!(signed, Err(audit::AuditError::Short { .. })) {
        1.0
    } else {
        0.0
    });
    if let Err(error) = signed {
        tracing::error!(%error, "no checkpoint of the audit; the next round tries again");
    }
}

/// Removes audio that was marked until `until_ms`. What cannot be removed stays marked.
async fn remove_discarded(app: &App, until_ms: i64) -> Result<(), StoreError> {
    loop {
        let waiting = app.store.upkeep().discarded(until_ms).await?;
        let mut removed = 0;
        for discarded in &waiting {
            match app.blobs.discard(discarded).await {
                Ok(()) => {
                    app.store.upkeep().forget(discarded).await?;
                    removed += 1;
                }
                Err(error) => tracing::error!(%error, id = discarded.id, "audio could not be removed yet"),
            }
        }
        if removed == 0 {
            return Ok(());
        }
    }
}
