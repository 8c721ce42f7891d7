use super::*;

const SECOND: u64 = 1_000_000;
const START: u64 = 1_700_000_000 * SECOND;

fn charge(subject: &str, per_minute: u32, burst: u32) -> Charge<'static> {
    Charge { key: Key::new("user", subject), rate: Rate::new(per_minute, burst), cost: 1, name: "free" }
}

/// Spends as often as it goes at one moment.
fn burst(cell: &mut Vec<u8>, charge: &Charge<'_>, now: u64) -> u32 {
    let mut taken = 0;
    while let (Spent::Taken { .. }, Some(next)) = spend(cell, charge, now) {
        *cell = next;
        taken += 1;
    }
    taken
}

#[test]
fn a_burst_then_the_steady_rate() {
    let charge = charge("a", 30, 10);
    let mut cell = Vec::new();
    assert_eq!(burst(&mut cell, &charge, START), 10);
    assert_eq!(spend(&cell, &charge, START).0, Spent::Exceeded { retry_after_s: 2 });
    assert_eq!(burst(&mut cell, &charge, START + 2 * SECOND), 1);
    assert_eq!(burst(&mut cell, &charge, START + 3600 * SECOND), 10);
    // Over any stretch of time: burst + rate * time, never twice the burst at a window's edge.
    let mut total = 0;
    for step in 0..600 {
        total += burst(&mut cell, &charge, START + 7200 * SECOND + step * SECOND / 10);
    }
    assert_eq!(total, 10 + 29);
}

#[test]
fn waiting_as_told_succeeds() {
    let charge = charge("a", 7, 3);
    let mut cell = Vec::new();
    burst(&mut cell, &charge, START);
    let Spent::Exceeded { retry_after_s } = spend(&cell, &charge, START).0 else { panic!("must be exceeded") };
    assert!(matches!(spend(&cell, &charge, START + retry_after_s * SECOND).0, Spent::Taken { .. }));
}

#[test]
fn remaining_and_reset_tell_the_truth() {
    let charge = charge("a", 60, 5);
    let (spent, cell) = spend(&[], &charge, START);
    assert_eq!(spent, Spent::Taken { remaining: 4, reset_s: 1 });
    assert_eq!(spend(&cell.unwrap(), &charge, START).0, Spent::Taken { remaining: 3, reset_s: 2 });
    assert_eq!(
        headers(&charge, 4, 1),
        [("ratelimit-policy", "\"free\";q=5;w=5".to_owned()), ("ratelimit", "\"free\";r=4;t=1".to_owned())]
    );
}

#[test]
fn newcomers_never_reset_an_active_neighbour() {
    let mut cell = Vec::new();
    let slow = |number: u64| Charge { key: Key { slot: 0, tag: number }, ..charge("x", 1, 1) };
    for number in 1..=WAYS as u64 {
        let (spent, next) = spend(&cell, &slow(number), START);
        assert!(matches!(spent, Spent::Taken { .. }));
        cell = next.unwrap();
    }
    for number in 100..1100 {
        assert_eq!(spend(&cell, &slow(number), START).0, Spent::Crowded { retry_after_s: 60 });
    }
    for number in 1..=WAYS as u64 {
        assert!(matches!(spend(&cell, &slow(number), START).0, Spent::Exceeded { .. }));
    }
    assert!(matches!(spend(&cell, &slow(100), START + 60 * SECOND).0, Spent::Taken { .. }), "idle places are reused");
}

#[test]
fn a_raised_limit_holds_at_once_and_a_clock_that_steps_back_locks_nobody_out() {
    let mut cell = Vec::new();
    burst(&mut cell, &charge("a", 1, 1), START);
    let (spent, shortened) = spend(&cell, &charge("a", 600, 10), START);
    assert_eq!(spent, Spent::Exceeded { retry_after_s: 1 });
    let cell = shortened.unwrap();
    assert!(matches!(spend(&cell, &charge("a", 600, 10), START + SECOND / 10).0, Spent::Taken { .. }));
    let an_hour_back = START - 3600 * SECOND;
    assert_eq!(spend(&cell, &charge("a", 1, 1), an_hour_back).0, Spent::Exceeded { retry_after_s: 60 });
}

#[test]
fn a_cell_that_nobody_wrote_counts_as_empty() {
    for cell in [&b"x"[..], &[0xff; 127], &[0xff; 129]] {
        assert!(matches!(spend(cell, &charge("a", 1, 1), START).0, Spent::Taken { .. }));
    }
}
