use super::*;

const SECOND: u64 = 1_000_000;
const START: u64 = 1_700_000_000 * SECOND;

fn charge(subject: &str, per_minute: u32, burst: u32) -> Charge<'static> {
    Charge {
        key: Key::new("user", subject),
        rate: Rate::new(per_minute, burst),
        cost: 1,
        whose: Whose::Role,
        name: "free",
    }
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
    assert_eq!(spent, Spent::Taken { remaining: 4, reset_s: 1, ahead: None });
    assert_eq!(spend(&cell.unwrap(), &charge, START).0, Spent::Taken { remaining: 3, reset_s: 2, ahead: None });
    assert_eq!(policy_header(&charge), "\"free\";q=5;w=5");
    assert_eq!(state_header(&charge, 4, 1), "\"free\";r=4;t=1");
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

/// Workers that draw ahead from one shared cell, in turns that look random but are always the
/// same; how many requests pass in all.
fn drawn_by_workers(charge: &Charge<'_>, workers: usize, requests: u64, step_us: u64) -> u64 {
    let mut cell = Vec::new();
    let mut held: Vec<Option<Ahead>> = vec![None; workers];
    let (mut passed, mut state) = (0, 1_u64);
    for number in 0..requests {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let worker = usize::try_from(state >> 33).unwrap() % workers;
        let now = START + number * step_us;
        if held[worker].as_mut().is_some_and(|ahead| ahead.spend(charge, now)) {
            passed += 1;
            continue;
        }
        let (spent, next) = spend(&cell, charge, now);
        cell = next.unwrap_or(cell);
        if let Spent::Taken { ahead, .. } = spent {
            held[worker] = ahead;
            passed += 1;
        }
    }
    passed
}

#[test]
fn what_is_drawn_ahead_never_makes_more_of_the_limit() {
    for (per_minute, burst) in [(60_000, 1000), (6_000_000, 100_000), (1_200, 50), (30_000, 3)] {
        for workers in [1, 2, 7] {
            for step_us in [1, 37, 900, 12_000] {
                let charge = charge("a", per_minute, burst);
                let requests = 20_000;
                let passed = drawn_by_workers(&charge, workers, requests, step_us);
                let allowed = u64::from(burst) + requests * step_us * u64::from(per_minute) / 60_000_000;
                assert!(passed <= allowed, "{passed} of {allowed}: {per_minute} {burst} {workers} {step_us}");
                // What several workers hold back is less than what they may hold.
                let held_back = workers as u64 * HOLD_US * u64::from(per_minute) / 60_000_000;
                assert!(passed + held_back + 1 >= allowed.min(requests), "{passed} of {allowed}, {workers} workers");
            }
        }
    }
}

#[test]
fn slow_limits_draw_nothing_ahead() {
    for per_minute in [1, 100, 1199] {
        let (spent, _) = spend(&[], &charge("a", per_minute, 100_000), START);
        assert!(matches!(spent, Spent::Taken { ahead: None, .. }), "{spent:?}");
    }
}

#[test]
fn a_refund_undoes_a_charge() {
    let charge = charge("a", 1, 2);
    let (_, once) = spend(&[], &charge, START);
    let (_, twice) = spend(once.as_ref().unwrap(), &charge, START);
    let twice = twice.unwrap();
    assert!(matches!(spend(&twice, &charge, START).0, Spent::Exceeded { .. }));
    assert_eq!(refund(&twice, &charge, START).unwrap(), once.unwrap());
    assert_eq!(refund(&[], &charge, START), None);
}

#[test]
fn what_is_used_up_is_remembered_until_it_is_not() {
    let key = Key::new("quota", "ada");
    let cell = remember(&[], key, START + 90 * SECOND, START).unwrap();
    assert_eq!(used_up_for(&cell, key, START + 30 * SECOND), Some(60));
    assert_eq!(used_up_for(&cell, key, START + 90 * SECOND), None);
    assert_eq!(used_up_for(&cell, Key::new("quota", "bob"), START), None);
}

#[test]
fn only_a_plain_word_of_the_origin_is_remembered() {
    assert_eq!(used_up_until(b"r=0;t=3600;rev=7", 7, START), Some(START + 3600 * SECOND));
    assert_eq!(used_up_until(b"r=0;t=3600;rev=6", 7, START), None, "it was said of another policy");
    for text in ["", "r=1;t=3600;rev=7", "r=0", "r=0;t=-1;rev=7", "r=0;t=999999999;rev=7", "t=1;r=0;rev=7"] {
        assert_eq!(used_up_until(text.as_bytes(), 7, START), None, "{text:?}");
    }
    assert_eq!(used_up_until(b"\xff", 7, START), None);
}
