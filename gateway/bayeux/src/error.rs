//! Bayeux error strings: `code:args:text`, in CometD's words (version 5 and later), and ours where CometD has none.

use bytestring::ByteString;

/// No `channel`; or unsubscribing from a channel that does not exist.
pub const CHANNEL_MISSING: &str = "400::channel_missing";
/// The body is not JSON.
pub const JSON_INVALID: &str = "400::json_invalid";
/// The session is unknown, expired, or belongs to another cookie or socket.
pub const SESSION_UNKNOWN: &str = "402::session_unknown";
/// The policy refused the handshake.
pub const HANDSHAKE_DENIED: &str = "403::handshake_denied";
/// A handshake beside other messages (the specification wants it alone).
pub const HANDSHAKE_NOT_ALONE: &str = "400::handshake_not_alone";
/// An extension, a listener or a filter would not have the message.
pub const MESSAGE_DELETED: &str = "404::message_deleted";
/// No `subscription`.
pub const SUBSCRIPTION_MISSING: &str = "403::subscription_missing";
/// `subscription` is not a channel, nor an array of channels.
pub const SUBSCRIPTION_INVALID: &str = "403::subscription_invalid";
/// A character or a structure that no channel may have.
pub const CHANNEL_INVALID: &str = "405::channel_invalid";
/// An id that is not made of letters and digits.
pub const MESSAGE_ID_INVALID: &str = "405::message_id_invalid";
/// Publishing to a meta channel.
pub const META_DENIED: &str = "403:denied_by_security_policy:channel_create_denied";
/// Subscribing to a meta channel that does not exist.
pub const META_CREATE_DENIED: &str = "403:denied_by_security_policy:create_denied";
/// Unsubscribing from a meta channel.
pub const UNSUBSCRIBE_FAILED: &str = "403::unsubscribe_failed";
/// Subscribing to a meta channel.
pub const META_SUBSCRIBE_DENIED: &str = "403:denied_by_security_policy:subscribe_denied";
/// A frame or body over `max_message_size`.
pub const MESSAGE_TOO_BIG: &str = "413::message_too_big";
/// The gateway is shutting down.
pub const DRAINING: &str = "503::draining";

/// An error string with its argument, usually the channel. Colons and control characters in the argument would break
/// the form, so they are left out.
pub fn error(code: u16, argument: &str, text: &str) -> ByteString {
    let clean: String = argument.chars().filter(|c| *c != ':' && !c.is_control()).collect();
    format!("{code}:{clean}:{text}").into()
}
