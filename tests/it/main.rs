//! End-to-end tests: everything here goes through processes, sockets and files.

mod abuse;
mod accounts;
mod engines;
mod falls;
mod golden;
mod isolation;
mod keys;
mod limits;
mod missing;
mod observability;
mod policy;
mod refusal;
mod services;
mod shadow;
mod under_way;
mod walk;
