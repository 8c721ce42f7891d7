//! End-to-end tests: everything here goes through processes, sockets and files.

mod accounts;
mod bypass;
mod confusion;
mod corpus;
mod engines;
mod falls;
mod fleet;
mod flood;
mod following;
mod golden;
mod isolation;
mod keys;
mod limits;
mod missing;
mod observability;
mod parity;
mod policy;
mod privacy;
mod refusal;
mod services;
mod shadow;
mod times;
mod under_way;
mod waiting;
mod walk;
mod wycheproof;
