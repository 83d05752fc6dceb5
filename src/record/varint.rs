//! Variable-length numbers as Kafka's record format has them (zigzag, seven bits a byte, as in Protocol Buffers).

/// Longest encoding of an `i32`, in bytes.
pub(super) const VARINT_LEN_MAX: usize = 5;
/// Longest encoding of an `i64`, in bytes.
pub(super) const VARLONG_LEN_MAX: usize = 10;

/// How many bytes `value` takes.
#[inline]
pub(super) fn varlong_len(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Writes `value` at `at` and returns where the next byte goes.
///
/// # Panics
/// When `buffer` is too short: callers size it by the constants above.
#[inline]
pub(super) fn write_varlong(buffer: &mut [u8], mut at: usize, value: i64) -> usize {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        buffer[at] = rest as u8 | 0x80;
        at += 1;
        rest >>= 7;
    }
    buffer[at] = rest as u8;
    at + 1
}

/// Appends `value`, whose small values take one byte.
#[inline]
pub(super) fn push_varlong(buffer: &mut Vec<u8>, value: i64) {
    let mut bytes = [0; VARLONG_LEN_MAX];
    let len = write_varlong(&mut bytes, 0, value);
    buffer.extend_from_slice(&bytes[..len]);
}

/// Reads an `i32`: its value and where the next byte is. `None` when the bytes end early or hold a larger number.
#[inline(always)]
pub(super) fn read_varint(bytes: &[u8], at: usize) -> Option<(i32, usize)> {
    let first = *bytes.get(at)?;
    if first < 0x80 {
        return Some((unzigzag(u64::from(first)) as i32, at + 1));
    }
    let (raw, behind) = read_long_form(bytes, at, VARINT_LEN_MAX)?;
    // Five bytes have 35 bits; what does not fit 32 is no `i32`.
    u32::try_from(raw).ok()?;
    Some((unzigzag(raw) as i32, behind))
}

/// Reads an `i64`, as `read_varint` does.
#[inline(always)]
pub(super) fn read_varlong(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let first = *bytes.get(at)?;
    if first < 0x80 {
        return Some((unzigzag(u64::from(first)), at + 1));
    }
    let (raw, behind) = read_long_form(bytes, at, VARLONG_LEN_MAX)?;
    Some((unzigzag(raw), behind))
}

#[inline]
fn read_long_form(bytes: &[u8], at: usize, len_max: usize) -> Option<(u64, usize)> {
    let mut raw = 0u64;
    for (place, byte) in bytes[at..].iter().take(len_max).enumerate() {
        let shift = 7 * place as u32;
        let part = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit only.
        if shift == 63 && part > 1 {
            return None;
        }
        raw |= part << shift;
        if byte & 0x80 == 0 {
            return Some((raw, at + place + 1));
        }
    }
    None
}

#[inline]
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline]
fn unzigzag(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_encodings() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (300, &[0xd8, 0x04]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i64::from(i32::MIN), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut written = Vec::new();
            push_varlong(&mut written, value);
            assert_eq!(written, bytes, "{value}");
            assert_eq!(varlong_len(value), bytes.len(), "{value}");
            assert_eq!(read_varint(bytes, 0), Some((value as i32, bytes.len())));
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        assert_eq!(read_varint(&[0xff, 0xff, 0xff, 0xff, 0x1f], 0), None);
        assert_eq!(read_varint(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00], 0), None);
        assert_eq!(read_varint(&[0x80], 0), None);
        assert_eq!(read_varint(&[], 0), None);
        assert_eq!(read_varlong(&[0xff; 9], 0), None);
        let ten = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(read_varlong(&ten, 0), Some((i64::MIN, 10)));
        let beyond = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(read_varlong(&beyond, 0), None);
    }

    proptest! {
        #[test]
        fn every_number_comes_back(value: i64, before in 0usize..3) {
            let mut bytes = vec![0xff; before];
            push_varlong(&mut bytes, value);
            prop_assert_eq!(bytes.len() - before, varlong_len(value));
            prop_assert_eq!(read_varlong(&bytes, before), Some((value, bytes.len())));
            let small = i32::try_from(value).ok().map(|small| (small, bytes.len()));
            prop_assert_eq!(read_varint(&bytes, before), small);
        }
    }
}
