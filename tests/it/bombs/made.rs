//! Small files that become hours of sound, and files that say of themselves what is not so.

use std::iter::{once, repeat_n};

/// What a bomb may weigh.
const MIB: usize = 1024 * 1024;
const RATE: u32 = 24_000;

/// What there is of it by its own word, in hours.
pub(super) struct Bomb {
    pub(super) name: &'static str,
    pub(super) hours: f64,
    pub(super) file: Vec<u8>,
}

/// `sound` is an M4A file.
pub(super) fn bombs(sound: &[u8]) -> Vec<Bomb> {
    vec![flac(1), flac(8), opus(), mp3(), m4a(sound)]
}

fn bomb(name: &'static str, samples: u64, rate: u32, file: Vec<u8>) -> Bomb {
    Bomb { name, hours: samples as f64 / f64::from(rate) / 3600.0, file }
}

/// The remainder of a division of polynomials, the highest bit first, as FLAC and Ogg have it.
fn crc(bytes: &[u8], bits: u32, polynomial: u32) -> u32 {
    let (top, mask) = (1 << (bits - 1), u32::MAX >> (32 - bits));
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << (bits - 8), |crc, _| {
            (if crc & top == 0 { crc << 1 } else { crc << 1 ^ polynomial }) & mask
        })
    })
}

/// RFC 9639: frames of 65 535 samples that are all the same, in fourteen bytes for one channel.
fn flac(channels: u8) -> Bomb {
    const BLOCK: u16 = u16::MAX;
    let mut file = b"fLaC\x80\0\0\x22".to_vec();
    file.extend([BLOCK.to_be_bytes(), BLOCK.to_be_bytes()].concat());
    file.extend([0; 6]);
    // Rate, channels, bits, and a number of samples that nobody has counted.
    let packed = u64::from(RATE) << 44 | u64::from(channels - 1) << 41 | 15 << 36;
    file.extend(packed.to_be_bytes());
    file.extend([0; 16]);
    let mut frames = 0;
    while file.len() < MIB {
        let mut frame = vec![0xFF, 0xF8, 0x70, (channels - 1) << 4 | 0x08];
        frame.extend(char::from_u32(frames % 0xD800).unwrap_or_default().to_string().into_bytes());
        frame.extend((BLOCK - 1).to_be_bytes());
        frame.push(crc(&frame, 8, 0x07) as u8);
        frame.extend(repeat_n([0, 0x10, 0], usize::from(channels)).flatten());
        frame.extend((crc(&frame, 16, 0x8005) as u16).to_be_bytes());
        file.extend(frame);
        frames += 1;
    }
    let name = if channels == 1 { "flac" } else { "flac of eight channels" };
    bomb(name, u64::from(frames) * u64::from(BLOCK), RATE, file)
}

/// RFC 3533: one page with whole packets, each of at most 254 bytes.
fn page(kind: u8, granule: u64, number: u32, packets: &[&[u8]]) -> Vec<u8> {
    let mut page = [b"OggS\0", &[kind][..], &granule.to_le_bytes(), b"once", &number.to_le_bytes(), &[0; 4]].concat();
    page.push(packets.len() as u8);
    page.extend(packets.iter().map(|packet| packet.len() as u8));
    page.extend(packets.concat());
    let sum = crc(&page, 32, 0x04C1_1DB7);
    page[22..26].copy_from_slice(&sum.to_le_bytes());
    page
}

/// RFC 6716, RFC 7845: two bytes say that 120 ms are lost and have to be made up.
fn opus() -> Bomb {
    const SAMPLES: u64 = 5760;
    let head = b"OpusHead\x01\x01\0\0\x80\xbb\0\0\0\0\0";
    let mut file = [page(2, 0, 0, &[head]), page(0, 0, 1, &[b"OpusTags\0\0\0\0\0\0\0\0"])].concat();
    let (mut pages, lost) = (0, [31 << 3 | 3, 6]);
    while file.len() < MIB {
        pages += 1;
        file.extend(page(0, pages * 255 * SAMPLES, pages as u32 + 1, &[&lost[..]; 255]));
    }
    bomb("opus", pages * 255 * SAMPLES, 48_000, file)
}

/// The fewest bits that MPEG-2 Layer III has for a frame, all zero, after a first one that speaks of
/// four thousand million.
fn mp3() -> Bomb {
    let frame = |bits: u8, size: usize| {
        let mut frame = vec![0xFF, 0xF3, bits << 4 | 0x04, 0xC0];
        frame.resize(size, 0);
        frame
    };
    let mut first = frame(2, 48);
    first[13..25].copy_from_slice(b"Xing\0\0\0\x01\xff\xff\xff\xff");
    let file = once(first).chain(repeat_n(frame(1, 24), MIB / 24)).flatten().collect();
    bomb("mp3", u64::from(u32::MAX) * 576, RATE, file)
}

/// ISO/IEC 14496-12: boxes whose content is boxes.
const NESTS: [&[u8]; 5] = [b"moov", b"trak", b"mdia", b"minf", b"stbl"];

/// The boxes of some bytes: name and content.
fn boxes(mut bytes: &[u8]) -> Vec<([u8; 4], &[u8])> {
    let mut found = Vec::new();
    while let Some((size, rest)) = bytes.split_first_chunk::<4>() {
        let size = u32::from_be_bytes(*size) as usize;
        found.push((rest[..4].try_into().unwrap(), &rest[4..size - 4]));
        bytes = &bytes[size..];
    }
    found
}

fn boxed(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32 + 8).to_be_bytes()[..], name, content].concat()
}

/// What becomes of the content of a box; nothing if it stays as it is.
type Change<'a> = &'a dyn Fn(&[u8; 4], &[u8]) -> Option<Vec<u8>>;

/// The same boxes, with another content where `change` has one.
fn rewritten(bytes: &[u8], change: Change<'_>) -> Vec<u8> {
    let each = |(name, content): ([u8; 4], &[u8])| match change(&name, content) {
        Some(other) => boxed(&name, &other),
        None if NESTS.contains(&&name[..]) => boxed(&name, &rewritten(content, change)),
        None => boxed(&name, content),
    };
    boxes(bytes).into_iter().flat_map(each).collect()
}

/// A table of numbers, as boxes have them.
fn table(numbers: &[u32]) -> Vec<u8> {
    once(&0).chain(numbers).flat_map(|number| number.to_be_bytes()).collect()
}

/// ISO/IEC 14496-3: the shortest frame of one channel of AAC, silent, again and again.
fn m4a(sound: &[u8]) -> Bomb {
    const FRAME: [u8; 4] = [0, 0, 0, 7];
    let count = (MIB / FRAME.len()) as u32;
    let place = sound.windows(4).position(|name| name == b"mdat").unwrap() as u32 + 4;
    let file = rewritten(sound, &|name, content| match name {
        b"mdat" => Some(FRAME.repeat(count as usize)),
        b"stts" => Some(table(&[1, count, 1024])),
        b"stsc" => Some(table(&[1, 1, count, 1])),
        b"stsz" => Some(table(&[FRAME.len() as u32, count])),
        b"stco" => Some(table(&[1, place])),
        b"mvhd" | b"mdhd" => {
            let mut lying = content.to_vec();
            lying[16..20].fill(0xFF);
            Some(lying)
        }
        _ => None,
    });
    bomb("m4a", u64::from(count) * 1024, RATE, file)
}

/// Tables that are said to have more rows than there is memory for.
pub(super) fn lying_m4a(sound: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for lying in [b"stts", b"stsc", b"stsz", b"stco", b"stsd", b"mdhd", b"mvhd", b"tkhd"] {
        for number in [u32::MAX, i32::MAX as u32, 1 << 28, 0] {
            for place in [4, 8, 12, 16] {
                let file = rewritten(sound, &|name, content| {
                    let mut other = (name == lying).then(|| content.to_vec())?;
                    other.get_mut(place..place + 4)?.copy_from_slice(&number.to_be_bytes());
                    Some(other)
                });
                files.push((format!("{} {number:x} at {place}", String::from_utf8_lossy(lying)), file));
            }
        }
    }
    files
}

/// Every field of a WAV header, with what cannot be so.
pub(super) fn lying_wavs(sound: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for (name, place, width) in [
        ("riff size", 4, 4),
        ("fmt size", 16, 4),
        ("format", 20, 2),
        ("channels", 22, 2),
        ("rate", 24, 4),
        ("bytes a second", 28, 4),
        ("block", 32, 2),
        ("bits", 34, 2),
        ("data size", 40, 4),
    ] {
        for number in [0, 1, 3, 6, 7, 17, 64, 0xFFFE, 0xFFFF, 0x7FFF_FFFF, u32::MAX] {
            let mut file = sound.to_vec();
            file[place..place + width].copy_from_slice(&number.to_le_bytes()[..width]);
            files.push((format!("{name} {number:x}"), file));
        }
    }
    files
}
