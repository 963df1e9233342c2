//! The encoder.

use minicbor::encode::Encoder as Cbor;

use super::{Cell, MAX_CELLS, MAX_ITEMS, Value};

/// Writes cells in ascending order; [`Encoder::finish`] puts the head of the map before them.
///
/// # Panics
/// All methods panic on cells out of order, more than 32 cells, and arrays that are empty or
/// longer than 16: mistakes of this program, never of a peer.
pub struct Encoder {
    body: Cbor<Vec<u8>>,
    last: Option<Cell>,
    count: usize,
}

/// Writing to a `Vec` cannot fail.
const TO_MEMORY: &str = "writing to memory does not fail";

impl Encoder {
    /// Starts an empty map.
    pub fn new() -> Self {
        Self { body: Cbor::new(Vec::with_capacity(256)), last: None, count: 0 }
    }

    fn key(&mut self, cell: Cell) {
        assert!(self.last.is_none_or(|last| last < cell), "cells are written in ascending order");
        assert!(self.count < MAX_CELLS, "a message has at most 32 cells");
        self.last = Some(cell);
        self.count += 1;
        self.body.u64(cell.0).expect(TO_MEMORY);
    }

    /// Writes an unsigned integer.
    pub fn uint(&mut self, cell: Cell, value: u64) -> &mut Self {
        self.key(cell);
        self.body.u64(value).expect(TO_MEMORY);
        self
    }

    /// Writes a byte string.
    pub fn bytes(&mut self, cell: Cell, value: &[u8]) -> &mut Self {
        self.key(cell);
        self.body.bytes(value).expect(TO_MEMORY);
        self
    }

    /// Writes an array of 1 to 16 unsigned integers.
    pub fn array(&mut self, cell: Cell, values: &[u64]) -> &mut Self {
        assert!((1..=MAX_ITEMS).contains(&values.len()), "an array has 1 to 16 integers");
        self.key(cell);
        self.body.array(values.len() as u64).expect(TO_MEMORY);
        for value in values {
            self.body.u64(*value).expect(TO_MEMORY);
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
        let mut head = [0u8; 9];
        let mut cbor = Cbor::new(&mut head[..]);
        cbor.map(self.count as u64).expect("nine bytes hold every head");
        let left = cbor.writer().len();
        let mut body = self.body.into_writer();
        body.splice(..0, head[..head.len() - left].iter().copied());
        body
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
