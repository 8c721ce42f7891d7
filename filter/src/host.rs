//! The host's functions (proxy-wasm ABI 0.2.1), thin and without panics.
//!
//! The SDK's own wrappers panic on a status they do not expect and on header bytes that are not
//! UTF-8; a panic takes the whole worker's VM down. Here every failure is a value, and header
//! values stay bytes. Buffers that the host returns were allocated by this module's exported
//! allocator, so this module owns and frees them.
#![expect(unsafe_code, reason = "host functions are foreign functions; all of them are in this file")]

use std::ptr::null_mut;
use std::time::Duration;

/// Header maps, by the ABI's numbers.
#[derive(Clone, Copy)]
pub(crate) enum Map {
    Request = 0,
    RequestTrailers = 1,
    Response = 2,
    CallResponse = 6,
}

/// Kinds of metrics, by the ABI's numbers.
#[derive(Clone, Copy)]
pub(crate) enum Metric {
    Counter = 0,
    Gauge = 1,
}

/// What the host said instead of Ok.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostError {
    /// The key is not there.
    NotFound,
    /// Somebody else wrote in between.
    CasMismatch,
    /// Anything else, by its number.
    Status(u32),
}

/// Buffers, by the ABI's numbers.
/// Kinds of streams, by the ABI's numbers.
const STREAM_REQUEST: u32 = 0;

const BUFFER_CALL_RESPONSE_BODY: u32 = 4;
const BUFFER_PLUGIN_CONFIGURATION: u32 = 7;

mod foreign {
    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        pub(super) fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
        pub(super) fn proxy_get_buffer_bytes(
            buffer: u32,
            start: usize,
            length: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
        pub(super) fn proxy_get_header_map_value(
            map: u32,
            name: *const u8,
            name_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_add_header_map_value(
            map: u32,
            name: *const u8,
            name_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> u32;
        pub(super) fn proxy_replace_header_map_value(
            map: u32,
            name: *const u8,
            name_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> u32;
        pub(super) fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
        pub(super) fn proxy_get_property(
            path: *const u8,
            path_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_get_shared_data(
            key: *const u8,
            key_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
            cas: *mut u32,
        ) -> u32;
        pub(super) fn proxy_set_shared_data(
            key: *const u8,
            key_size: usize,
            value: *const u8,
            value_size: usize,
            cas: u32,
        ) -> u32;
        pub(super) fn proxy_call_foreign_function(
            name: *const u8,
            name_size: usize,
            arguments: *const u8,
            arguments_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_set_effective_context(context: u32) -> u32;
        pub(super) fn proxy_close_stream(stream: u32) -> u32;
        pub(super) fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
        pub(super) fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
        pub(super) fn proxy_increment_metric(id: u32, by: i64) -> u32;
        pub(super) fn proxy_record_metric(id: u32, value: u64) -> u32;
        pub(super) fn proxy_send_local_response(
            status: u32,
            details: *const u8,
            details_size: usize,
            body: *const u8,
            body_size: usize,
            headers: *const u8,
            headers_size: usize,
            grpc_status: i32,
        ) -> u32;
    }
}

fn check(status: u32) -> Result<(), HostError> {
    match status {
        0 => Ok(()),
        1 => Err(HostError::NotFound),
        8 => Err(HostError::CasMismatch),
        other => Err(HostError::Status(other)),
    }
}

/// Takes over a buffer that the host allocated through this module's allocator.
fn owned(data: *mut u8, size: usize) -> Vec<u8> {
    if data.is_null() {
        return Vec::new();
    }
    // SAFETY: the allocator hands out boxed slices of exactly `size` bytes, and the host gives
    // each of them up once.
    unsafe { Vec::from_raw_parts(data, size, size) }
}

/// Nanoseconds since the epoch.
pub(crate) fn now_ns() -> Result<u64, HostError> {
    let mut time = 0;
    // SAFETY: the host writes one u64.
    check(unsafe { foreign::proxy_get_current_time_nanoseconds(&raw mut time) })?;
    Ok(time)
}

/// The whole configuration of this plugin.
pub(crate) fn configuration() -> Result<Vec<u8>, HostError> {
    buffer(BUFFER_PLUGIN_CONFIGURATION, usize::MAX)
}

/// The first `most` bytes of the body that a call of ours was answered with.
pub(crate) fn call_response_body(most: usize) -> Result<Vec<u8>, HostError> {
    buffer(BUFFER_CALL_RESPONSE_BODY, most)
}

fn buffer(buffer: u32, most: usize) -> Result<Vec<u8>, HostError> {
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: the host writes one pointer and one size.
    check(unsafe { foreign::proxy_get_buffer_bytes(buffer, 0, most, &raw mut data, &raw mut size) })?;
    Ok(owned(data, size))
}

/// Asks for a tick of every root context, this often.
pub(crate) fn set_tick_period_ms(period: u32) -> Result<(), HostError> {
    // SAFETY: nothing is passed but a number.
    check(unsafe { foreign::proxy_set_tick_period_milliseconds(period) })
}

/// Asks a cluster of this Envoy for something; the answer comes to the root context under the
/// number that is returned. The SDK must know of the call, so it is made through the SDK.
pub(crate) fn call(
    cluster: &str,
    authority: &str,
    path: &str,
    more: &[(&str, &str)],
    timeout: Duration,
) -> Option<u32> {
    let mut headers = vec![(":method", "GET"), (":path", path), (":authority", authority), ("user-agent", "cosygate")];
    headers.extend(more);
    proxy_wasm::hostcalls::dispatch_http_call(cluster, headers, None, Vec::new(), timeout).ok()
}

/// Makes another context the one that further calls are about.
pub(crate) fn set_effective_context(context: u32) -> Result<(), HostError> {
    // SAFETY: nothing is passed but a number.
    check(unsafe { foreign::proxy_set_effective_context(context) })
}

/// Ends the stream of the context that calls are about, in both directions.
pub(crate) fn close_stream() -> Result<(), HostError> {
    // SAFETY: nothing is passed but a number.
    check(unsafe { foreign::proxy_close_stream(STREAM_REQUEST) })
}

/// The number of a metric, which is made if there is none of this name yet. Names are never
/// freed: they must come from the policy, not from a client.
pub(crate) fn define_metric(kind: Metric, name: &str) -> Result<u32, HostError> {
    let mut id = 0;
    // SAFETY: the host reads the name and writes one number.
    check(unsafe { foreign::proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &raw mut id) })?;
    Ok(id)
}

/// Adds to a counter.
pub(crate) fn increment_metric(id: u32, by: u64) -> Result<(), HostError> {
    // SAFETY: nothing is passed but numbers.
    check(unsafe { foreign::proxy_increment_metric(id, i64::try_from(by).unwrap_or(i64::MAX)) })
}

/// Sets a gauge.
pub(crate) fn record_metric(id: u32, value: u64) -> Result<(), HostError> {
    // SAFETY: nothing is passed but numbers.
    check(unsafe { foreign::proxy_record_metric(id, value) })
}

/// All headers of a map, fetched in one call and read in place.
pub(crate) struct Pairs(Vec<u8>);

impl Pairs {
    /// Names as Envoy normalised them, values as raw bytes. A map that cannot be read is an error,
    /// never an empty one.
    pub(crate) fn read(&self) -> Result<Vec<(&str, &[u8])>, HostError> {
        unpack(&self.0).ok_or(HostError::Status(u32::MAX))
    }
}

/// Fetches all headers of a map.
pub(crate) fn headers(map: Map) -> Result<Pairs, HostError> {
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: the host writes one pointer and one size.
    check(unsafe { foreign::proxy_get_header_map_pairs(map as u32, &raw mut data, &raw mut size) })?;
    Ok(Pairs(owned(data, size)))
}

/// The first value of a header, empty when it is absent.
pub(crate) fn header(map: Map, name: &str) -> Result<Vec<u8>, HostError> {
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: the host reads the name and writes one pointer and one size.
    let status = unsafe {
        foreign::proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), &raw mut data, &raw mut size)
    };
    match check(status) {
        Ok(()) => Ok(owned(data, size)),
        Err(HostError::NotFound) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Adds a value to a header, beside those it has.
pub(crate) fn add_header(map: Map, name: &str, value: &[u8]) -> Result<(), HostError> {
    // SAFETY: the host only reads, within the given sizes.
    check(unsafe {
        foreign::proxy_add_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// Sets a header to one value, whatever it was before.
pub(crate) fn set_header(map: Map, name: &str, value: &[u8]) -> Result<(), HostError> {
    // SAFETY: the host only reads, within the given sizes.
    check(unsafe {
        foreign::proxy_replace_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// Removes every value of a header.
pub(crate) fn remove_header(map: Map, name: &str) -> Result<(), HostError> {
    // SAFETY: the host only reads, within the given size.
    check(unsafe { foreign::proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) })
}

/// A property of the stream by its path, as bytes.
pub(crate) fn property(path: &[&str]) -> Result<Vec<u8>, HostError> {
    let path = path.join("\0");
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: the host reads the path and writes one pointer and one size.
    check(unsafe { foreign::proxy_get_property(path.as_ptr(), path.len(), &raw mut data, &raw mut size) })?;
    Ok(owned(data, size))
}

/// A value that all workers of this Envoy share, with its version.
pub(crate) fn shared(key: &str) -> Result<(Vec<u8>, u32), HostError> {
    let (mut data, mut size, mut cas) = (null_mut(), 0, 0);
    // SAFETY: the host reads the key and writes one pointer, one size and one version.
    check(unsafe {
        foreign::proxy_get_shared_data(key.as_ptr(), key.len(), &raw mut data, &raw mut size, &raw mut cas)
    })?;
    Ok((owned(data, size), cas))
}

/// A version that no value has: a write with it succeeds only if the key is not there yet.
/// (The host ignores the version of a key that is absent, so version 0 would not do.)
pub(crate) const ABSENT: u32 = u32::MAX;

/// A version that every value has: a write with it always succeeds.
pub(crate) const ANY: u32 = 0;

/// Writes a shared value if its version is still `cas`.
pub(crate) fn set_shared(key: &str, value: &[u8], cas: u32) -> Result<(), HostError> {
    // SAFETY: the host only reads, within the given sizes.
    check(unsafe { foreign::proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) })
}

/// Whether a signature over `text` holds, by the host's own cryptography. `public_key` is a
/// SubjectPublicKeyInfo in DER; ECDSA signatures are DER, RSA ones PKCS#1 v1.5.
///
/// The function and its two messages are Envoy's: `verify_signature`, with `hash_function`,
/// `public_key`, `signature` and `text` as protobuf fields 1 to 4, answered by `result` as field 1.
pub(crate) fn verify_signature(
    hash: &str,
    public_key: &[u8],
    signature: &[u8],
    text: &[u8],
) -> Result<bool, HostError> {
    const NAME: &str = "verify_signature";
    let mut arguments = Vec::with_capacity(public_key.len() + signature.len() + text.len() + 32);
    for (number, field) in (1_u8..).zip([hash.as_bytes(), public_key, signature, text]) {
        arguments.push((number << 3) | 2);
        let mut length = field.len();
        while length >= 0x80 {
            arguments.push(0x80 | u8::try_from(length & 0x7f).unwrap_or_default());
            length >>= 7;
        }
        arguments.push(u8::try_from(length).unwrap_or_default());
        arguments.extend_from_slice(field);
    }
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: the host reads name and arguments and writes one pointer and one size.
    check(unsafe {
        foreign::proxy_call_foreign_function(
            NAME.as_ptr(),
            NAME.len(),
            arguments.as_ptr(),
            arguments.len(),
            &raw mut data,
            &raw mut size,
        )
    })?;
    // A false result is not written out at all, so the answer starts with another field or is empty.
    Ok(owned(data, size).starts_with(&[0x08, 0x01]))
}

/// Answers the client in place of the origin. `details` becomes the response code details of the
/// access log and must not contain spaces.
pub(crate) fn reply(status: u16, details: &str, headers: &[(&str, String)], body: &[u8]) -> Result<(), HostError> {
    let headers = pack(headers);
    // SAFETY: the host only reads, within the given sizes.
    check(unsafe {
        foreign::proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            -1,
        )
    })
}

/// The ABI's form of a header map: the number of pairs, all sizes, then all bytes, each ended by
/// a zero; numbers are 32 bits, little-endian.
fn pack(pairs: &[(&str, String)]) -> Vec<u8> {
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    let mut packed = number(pairs.len()).to_vec();
    for (name, value) in pairs {
        packed.extend(number(name.len()));
        packed.extend(number(value.len()));
    }
    for (name, value) in pairs {
        packed.extend(name.as_bytes());
        packed.push(0);
        packed.extend(value.as_bytes());
        packed.push(0);
    }
    packed
}

fn unpack(packed: &[u8]) -> Option<Vec<(&str, &[u8])>> {
    if packed.is_empty() {
        return Some(Vec::new());
    }
    let number = |at: usize| -> Option<usize> {
        let bytes: [u8; 4] = packed.get(at..at.checked_add(4)?)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let count = number(0)?;
    let mut at = count.checked_mul(8)?.checked_add(4)?;
    let mut take = |size: usize| {
        let bytes = packed.get(at..at.checked_add(size)?)?;
        at = at.checked_add(size)?.checked_add(1)?;
        Some(bytes)
    };
    let mut pairs = Vec::with_capacity(count.min(1024));
    for index in 0..count {
        let sizes = index.checked_mul(8)?.checked_add(4)?;
        let name = take(number(sizes)?)?;
        let value = take(number(sizes.checked_add(4)?)?)?;
        pairs.push((std::str::from_utf8(name).ok()?, value));
    }
    Some(pairs)
}
