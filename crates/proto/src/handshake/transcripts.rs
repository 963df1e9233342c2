//! Replays of the transcripts.
