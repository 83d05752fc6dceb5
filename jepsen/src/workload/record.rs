//! What a record holds: its number, and padding that follows from the number. A record that was changed on its way or
//! on disk is then one that nobody sent.

use crate::history::Message;

/// What stands for a record that is not one of ours; no client sends it.
pub const FOREIGN: Message = Message(0);

/// Spreads a number over 64 bits (the finalizer of SplitMix64).
fn spread(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The value of a message, of about `bytes` bytes.
pub fn value(message: Message, bytes: usize) -> String {
    let mut text = message.0.to_string();
    let mut bits = spread(message.0);
    while text.len() < bytes {
        text += &format!("-{bits:016x}");
        bits = spread(bits);
    }
    text
}

/// The message that a value holds, if it is whole.
pub fn message(text: &str) -> Message {
    let number = text.split('-').next().and_then(|number| number.parse().ok());
    let Some(number) = number else { return FOREIGN };
    let message = Message(number);
    // Made anew and compared: every byte counts.
    if value(message, text.len()) == text { message } else { FOREIGN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_holds_its_message_and_a_changed_one_does_not() {
        for bytes in [0, 1, 17, 18, 100, 1000] {
            let text = value(Message(4711), bytes);
            assert!(text.len() >= bytes);
            assert_eq!(message(&text), Message(4711));
            for at in 0..text.len() {
                let mut changed = text.clone().into_bytes();
                changed[at] ^= 1;
                let changed = String::from_utf8(changed).unwrap();
                assert_ne!(message(&changed), Message(4711), "{changed}");
            }
        }
        for text in ["", "x", "12x", "12-", "-"] {
            assert_eq!(message(text), FOREIGN);
        }
    }
}
