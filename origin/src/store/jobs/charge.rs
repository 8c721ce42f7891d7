//! Charging: a day and the books say the same.

use std::collections::BTreeMap;

/// What was delivered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charge<'a> {
    /// The job's id.
    pub(super) id: &'a str,
    pub(super) owner: &'a str,
    /// Of the user, on which it was asked for.
    pub(super) day: &'a str,
    /// `kept`, or `cut` where the client left.
    pub(super) kind: &'static str,
    pub(super) characters: i64,
    pub(super) audio_ms: i64,
    pub(super) project_id: Option<&'a str>,
    /// Milliseconds since the epoch.
    pub(super) at: i64,
}

/// What is charged to one day of one user.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    pub(super) characters: i64,
    pub(super) generations: i64,
    pub(super) audio_ms: i64,
}

/// By user and day: each once, and in one order for all, so that no two transactions wait for each
/// other's users.
pub(super) fn sums<'a>(charges: &[Charge<'a>]) -> BTreeMap<(&'a str, &'a str), Sum> {
    let mut sums: BTreeMap<_, Sum> = BTreeMap::new();
    for charge in charges {
        let sum = sums.entry((charge.owner, charge.day)).or_default();
        sum.characters += charge.characters;
        sum.generations += 1;
        sum.audio_ms += charge.audio_ms;
    }
    sums
}

/// Writes what was delivered into the days and into the books; at least one.
macro_rules! charge {
    ($transaction:expr, $charges:expr) => {{
        let charges: &[$crate::store::jobs::charge::Charge<'_>] = $charges;
        let is_one = charges.len() == 1;
        let mut days =
            sqlx::QueryBuilder::new("INSERT INTO daily_usage (user_id, day, characters, generations, audio_ms) ");
        days.push_values($crate::store::jobs::charge::sums(charges), |mut row, ((owner, day), sum)| {
            row.push_bind(owner)
                .push_bind(day)
                .push_bind(sum.characters)
                .push_bind(sum.generations)
                .push_bind(sum.audio_ms);
        });
        days.push(
            " ON CONFLICT (user_id, day) DO UPDATE SET characters = daily_usage.characters + excluded.characters, \
             generations = daily_usage.generations + excluded.generations, \
             audio_ms = daily_usage.audio_ms + excluded.audio_ms",
        );
        days.build().persistent(is_one).execute($transaction).await?;
        let mut books = sqlx::QueryBuilder::new(
            "INSERT INTO deliveries (id, user_id, day, kind, generations, characters, audio_ms, project_id, at) ",
        );
        books.push_values(charges, |mut row, charge| {
            row.push_bind(charge.id)
                .push_bind(charge.owner)
                .push_bind(charge.day)
                .push_bind(charge.kind)
                .push_bind(1_i64)
                .push_bind(charge.characters)
                .push_bind(charge.audio_ms)
                .push_bind(charge.project_id)
                .push_bind(charge.at);
        });
        books.build().persistent(is_one).execute($transaction).await?;
    }};
}

pub(super) use charge;
