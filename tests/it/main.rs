//! End-to-end tests: everything here goes through processes, sockets and files.

mod abuse;
mod accounts;
mod engines;
mod golden;
mod isolation;
mod limits;
mod policy;
mod refusal;
mod walk;
