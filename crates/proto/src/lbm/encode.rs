//! The encoder.

use minicbor::encode::Encoder as Cbor;

use super::{Cell, MAX_CELLS, MAX_ITEMS, Value};
use crate::wire::MAX_REQUEST_LEN;

/// Writes cells in ascending order; [`Encoder::finish`] fills in the head of the map.
///
/// The buffer holds every message of the protocol from the start, so that it does not move and
/// leave copies of `K_c` behind.
///
/// # Panics
/// All methods panic on cells out of order, more than 32 cells, and arrays that are empty or
/// longer than 16: mistakes of this program, never of a peer.
pub struct Encoder {
    cbor: Cbor<Vec<u8>>,
    last: Option<Cell>,
    count: usize,
}

/// Writing to a `Vec` cannot fail.
const TO_MEMORY: &str = "writing to memory does not fail";
/// Bytes kept free for the head of the map, whose length is known only at the end.
const HEAD: usize = 2;
/// More than the longest LBM, its signature and its tag take up.
const CAPACITY: usize = 2 * MAX_REQUEST_LEN;

impl Encoder {
    /// Starts an empty map.
    pub fn new() -> Self {
        let mut buffer = Vec::with_capacity(CAPACITY);
        buffer.extend_from_slice(&[0; HEAD]);
        Self { cbor: Cbor::new(buffer), last: None, count: 0 }
    }

    fn key(&mut self, cell: Cell) {
        assert!(self.last.is_none_or(|last| last < cell), "cells are written in ascending order");
        assert!(self.count < MAX_CELLS, "a message has at most 32 cells");
        self.last = Some(cell);
        self.count += 1;
        self.cbor.u64(cell.0).expect(TO_MEMORY);
    }

    /// Writes an unsigned integer.
    pub fn uint(&mut self, cell: Cell, value: u64) -> &mut Self {
        self.key(cell);
        self.cbor.u64(value).expect(TO_MEMORY);
        self
    }

    /// Writes a byte string.
    pub fn bytes(&mut self, cell: Cell, value: &[u8]) -> &mut Self {
        self.key(cell);
        self.cbor.bytes(value).expect(TO_MEMORY);
        self
    }

    /// Writes an array of 1 to 16 unsigned integers.
    pub fn array(&mut self, cell: Cell, values: &[u64]) -> &mut Self {
        assert!((1..=MAX_ITEMS).contains(&values.len()), "an array has 1 to 16 integers");
        self.key(cell);
        self.cbor.array(values.len() as u64).expect(TO_MEMORY);
        for value in values {
            self.cbor.u64(*value).expect(TO_MEMORY);
        }
        self
    }

    /// Writes a decoded value.
    pub fn value(&mut self, cell: Cell, value: &Value<'_>) -> &mut Self {
        match value {
            Value::Uint(value) => self.uint(cell, *value),
            Value::Bytes(value) => self.bytes(cell, value),
            Value::Array(items) => {
                let mut values = [0; MAX_ITEMS];
                let mut len = 0;
                for item in items.iter() {
                    values[len] = item;
                    len += 1;
                }
                self.array(cell, &values[..len])
            }
        }
    }

    /// Returns the map.
    pub fn finish(self) -> Vec<u8> {
        let mut buffer = self.cbor.into_writer();
        let count = self.count as u8;
        if self.count < 24 {
            buffer[1] = 0xa0 | count;
            buffer.remove(0);
        } else {
            buffer[..HEAD].copy_from_slice(&[0xb8, count]);
        }
        buffer
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // values may be secret (cell 0x06)
        f.debug_struct("Encoder").field("count", &self.count).finish_non_exhaustive()
    }
}
