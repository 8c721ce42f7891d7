//! Falling over when a request asks for it, for tests of what happens then. Never in what is
//! shipped.

/// Does what the header `x-fault` says.
pub(crate) fn happen(headers: &[(&str, &[u8])]) {
    for (name, value) in headers {
        match (*name, *value) {
            ("x-fault", b"trap") => std::process::abort(),
            ("x-fault", b"memory") => {
                let mut taken: Vec<Vec<u8>> = Vec::new();
                loop {
                    taken.push(Vec::with_capacity(64 * 1024 * 1024));
                }
            }
            _ => {}
        }
    }
}
