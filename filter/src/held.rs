//! What a worker has drawn of fast limits and not spent yet; see [`gate::limit::Ahead`].

use std::cell::RefCell;

use gate::limit::{Ahead, Charge, Key};

/// How many limits are held at once. A newcomer takes a place over; what was in it melts away.
const PLACES: usize = 64;

struct Piece {
    key: Key,
    ahead: Ahead,
    remaining: u32,
    reset_s: u64,
}

/// The pieces of one configuration, so that a policy with other rates starts with none.
pub(crate) struct Held(RefCell<Vec<Option<Piece>>>);

impl Default for Held {
    fn default() -> Self {
        Self(RefCell::new((0..PLACES).map(|_| None).collect()))
    }
}

impl Held {
    /// Spends a charge out of what is held. Returns what then remains of the limit, as far as is
    /// known here, and the seconds until it is whole again.
    pub(crate) fn spend(&self, charge: &Charge<'_>, now_us: u64) -> Option<(u32, u64)> {
        let mut places = self.0.borrow_mut();
        let piece = places.get_mut(place(charge.key))?.as_mut().filter(|piece| piece.key == charge.key)?;
        if !piece.ahead.spend(charge, now_us) {
            return None;
        }
        piece.remaining = piece.remaining.saturating_sub(charge.cost);
        Some((piece.remaining, piece.reset_s))
    }

    /// Keeps what was drawn.
    pub(crate) fn keep(&self, key: Key, ahead: Ahead, remaining: u32, reset_s: u64) {
        if let Some(slot) = self.0.borrow_mut().get_mut(place(key)) {
            *slot = Some(Piece { key, ahead, remaining, reset_s });
        }
    }
}

fn place(key: Key) -> usize {
    usize::try_from(key.slot).unwrap_or_default() % PLACES
}
