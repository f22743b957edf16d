//! Messages to PostgreSQL, appended to one buffer. Names and sizes are checked before they come here.

use bytes::{BufMut as _, BytesMut};

use super::statements::Name;

/// Execute the unnamed portal without a row limit.
pub(super) fn execute(out: &mut BytesMut) {
    out.put_slice(b"E\0\0\0\x09\0\0\0\0\0");
}

/// End of a pipeline: an implicit transaction commits here, and errors stop here.
pub(super) fn sync(out: &mut BytesMut) {
    out.put_slice(b"S\0\0\0\x04");
}

/// Goodbye.
pub(super) fn terminate(out: &mut BytesMut) {
    out.put_slice(b"X\0\0\0\x04");
}

/// Prepare `text` under `name`; parameter types are left to PostgreSQL.
pub(super) fn parse(name: Name, text: &str, out: &mut BytesMut) {
    header(b'P', name.len() + 1 + text.len() + 1 + 2, out);
    out.put_slice(&name);
    out.put_u8(0);
    out.put_slice(text.as_bytes());
    out.put_slice(&[0, 0, 0]);
}

/// Forget the prepared statement `name`; no error when there is none.
pub(super) fn close(name: Name, out: &mut BytesMut) {
    header(b'C', 1 + name.len() + 1, out);
    out.put_u8(b'S');
    out.put_slice(&name);
    out.put_u8(0);
}

/// Bind `values` (see [`super::request::Request`]) to the statement `name` as the unnamed portal.
pub(super) fn bind(name: Name, values: &[u8], out: &mut BytesMut) {
    header(b'B', 1 + name.len() + 1 + values.len(), out);
    out.put_u8(0);
    out.put_slice(&name);
    out.put_u8(0);
    out.put_slice(values);
}

/// One statement of ours by the simple protocol, with a Sync of its own.
pub(super) fn query(text: &'static str, out: &mut BytesMut) {
    header(b'Q', text.len() + 1, out);
    out.put_slice(text.as_bytes());
    out.put_u8(0);
}

fn header(tag: u8, body: usize, out: &mut BytesMut) {
    out.put_u8(tag);
    // Requests and texts are bounded far below; the length counts itself.
    out.put_i32(i32::try_from(body + 4).unwrap_or(i32::MAX));
}
