//! Names and passwords: how they are read, and how passwords are kept.

mod names;
mod passwords;
mod variants;

pub use names::{fold_username, skeleton};
pub use passwords::{NewPassword, PasswordSettings, Passwords, accept as accept_password};
pub use variants::variants;
