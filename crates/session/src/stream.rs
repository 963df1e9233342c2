//! Streams: numbered message channels inside a session.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::channel::Channel;
use crate::error::{Closed, SendError};
use crate::session::SessionInner;

/// A numbered channel of messages inside a session.
///
/// Streams do not wait for each other: a full or unread one holds up no other, and those that
/// have something to send take turns. Messages are as unreliable as a session's own; what must
/// arrive is for the user to repeat (the example `file` does).
///
/// Both sides use a number for the same stream. When a `Stream` is dropped, what it has queued
/// is still sent, what it has not taken is lost, and its number is free again: another message
/// from the other side makes [`Session::accept_stream`](crate::Session::accept_stream) return it
/// anew.
pub struct Stream {
    session: Arc<SessionInner>,
    channel: Arc<Channel>,
}

impl Stream {
    pub(crate) fn new(session: Arc<SessionInner>, channel: Arc<Channel>) -> Self {
        Self { session, channel }
    }

    /// Returns the stream's number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.channel.id
    }

    /// Sends a message, waiting while the stream's queue is full.
    ///
    /// # Errors
    /// As [`Session::send`](crate::Session::send).
    pub async fn send(&self, message: impl Into<Bytes>) -> Result<(), SendError> {
        self.session.send(&self.channel, message.into()).await
    }

    /// Sends a message if there is room in the stream's queue.
    ///
    /// # Errors
    /// [`SendError::Full`], and as [`Self::send`].
    pub fn try_send(&self, message: impl Into<Bytes>) -> Result<(), SendError> {
        self.session.try_send(&self.channel, &message.into())
    }

    /// Receives a message. What had come before the session ended can still be taken.
    ///
    /// # Errors
    /// Why the session has ended.
    pub async fn recv(&self) -> Result<Bytes, Closed> {
        self.session.recv(&self.channel).await
    }

    /// Takes a message if one has come.
    #[must_use]
    pub fn try_recv(&self) -> Option<Bytes> {
        self.session.try_recv(&self.channel)
    }

    /// Returns how many messages were dropped because those before them were not taken.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.channel.dropped()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.session.drop_stream(&self.channel);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("session", &self.session.id)
            .field("id", &self.channel.id)
            .finish_non_exhaustive()
    }
}
