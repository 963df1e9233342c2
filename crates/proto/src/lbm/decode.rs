//! The strict decoder of the encoding, over minicbor.
//!
//! minicbor takes integers in longer forms than needed, and formats a message for some errors.
//! So every head is looked at here first, and minicbor only reads what is known to fit.

use core::fmt;

use minicbor::Decoder;

use super::{Cell, MAX_CELLS, MAX_ITEMS};

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The bytes end too early.
    Truncated,
    /// There is something after the map.
    TrailingBytes,
    /// It is not a map of at most 32 cells.
    NotAMap,
    /// A key is no unsigned integer.
    BadKey,
    /// An integer or a length is not in its shortest form, or not definite.
    NotShortest,
    /// Keys are not ascending, or one comes twice.
    KeyOrder,
    /// The cell is below `0x40` and not known.
    UnknownCritical,
    /// The value is no unsigned integer, byte string, or array of 1 to 16 unsigned integers.
    BadValue,
    /// The cell has another type than the table says.
    WrongType,
    /// The value has a wrong size or is out of range.
    OutOfRange,
    /// The cell must be there, and is not.
    Missing,
    /// The cell must not be in this message.
    Forbidden,
}

/// A message that was refused: what is wrong, and in which cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LbmError {
    /// The cell at fault; `None` if none can be named.
    pub cell: Option<Cell>,
    /// What is wrong.
    pub problem: Problem,
}

impl LbmError {
    pub(super) const fn new(cell: Cell, problem: Problem) -> Self {
        Self { cell: Some(cell), problem }
    }

    const fn unnamed(problem: Problem) -> Self {
        Self { cell: None, problem }
    }
}

impl fmt::Display for LbmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.problem {
            Problem::Truncated => "ends too early",
            Problem::TrailingBytes => "bytes after the map",
            Problem::NotAMap => "not a map of at most 32 cells",
            Problem::BadKey => "a key is no unsigned integer",
            Problem::NotShortest => "an integer is not in its shortest form",
            Problem::KeyOrder => "keys do not ascend",
            Problem::UnknownCritical => "unknown critical cell",
            Problem::BadValue => "no value that LBM allows",
            Problem::WrongType => "wrong type",
            Problem::OutOfRange => "wrong size, or out of range",
            Problem::Missing => "missing",
            Problem::Forbidden => "not allowed in this message",
        };
        match self.cell {
            Some(cell) => write!(f, "cell {cell}: {text}"),
            None => f.write_str(text),
        }
    }
}

impl core::error::Error for LbmError {}

/// The value of a cell, borrowed from the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// An unsigned integer.
    Uint(u64),
    /// A byte string.
    Bytes(&'a [u8]),
    /// 1 to 16 unsigned integers.
    Array(Items<'a>),
}

/// The integers of an array: their count, and their checked encoding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Items<'a> {
    len: u8,
    encoded: &'a [u8],
}

impl<'a> Items<'a> {
    /// Returns how many there are, 1 to 16.
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Returns `false`: an empty array does not decode.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Iterates over the integers.
    pub fn iter(&self) -> impl Iterator<Item = u64> + use<'a> {
        let mut decoder = Decoder::new(self.encoded);
        (0..self.len).map_while(move |_| decoder.u64().ok())
    }
}

impl fmt::Debug for Items<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A decoded map. It keeps unknown cells from `0x40` up, which [`Map::known`] leaves out.
#[derive(Clone, Copy)]
pub struct Map<'a> {
    cells: [(Cell, Value<'a>); MAX_CELLS],
    len: usize,
}

impl<'a> Map<'a> {
    /// Decodes a map that takes up all bytes.
    ///
    /// # Errors
    /// [`LbmError`], with the cell where one can be named.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, LbmError> {
        let (map, len) = Self::decode_prefix(bytes)?;
        if len != bytes.len() {
            return Err(LbmError::unnamed(Problem::TrailingBytes));
        }
        Ok(map)
    }

    /// Decodes the map that the bytes begin with; returns how many bytes it takes up.
    ///
    /// # Errors
    /// As [`Map::decode`], less [`Problem::TrailingBytes`].
    pub fn decode_prefix(bytes: &'a [u8]) -> Result<(Self, usize), LbmError> {
        let mut reader = Reader::new(bytes);
        let count = reader.map_head()?;
        let mut map = Self { cells: [(Cell(0), Value::Uint(0)); MAX_CELLS], len: 0 };
        let mut last = None;
        for _ in 0..count {
            let key = Cell(reader.key()?);
            if last.is_some_and(|last| key <= last) {
                return Err(LbmError::new(key, Problem::KeyOrder));
            }
            last = Some(key);
            if key.is_critical() && !key.is_known() {
                return Err(LbmError::new(key, Problem::UnknownCritical));
            }
            let value = reader.value().map_err(|problem| LbmError::new(key, problem))?;
            map.cells[map.len] = (key, value);
            map.len += 1;
        }
        Ok((map, reader.position()))
    }

    /// Returns all cells in ascending order, unknown ones included.
    pub fn cells(&self) -> &[(Cell, Value<'a>)] {
        &self.cells[..self.len]
    }

    /// Iterates over the known cells in ascending order.
    pub fn known(&self) -> impl Iterator<Item = (Cell, Value<'a>)> + '_ {
        self.cells().iter().copied().filter(|(cell, _)| cell.is_known())
    }

    /// Returns the value of a cell.
    pub fn value(&self, cell: Cell) -> Option<Value<'a>> {
        let index = self.cells().binary_search_by_key(&cell, |(key, _)| *key).ok()?;
        Some(self.cells[index].1)
    }

    /// Returns an unsigned integer, if the cell is there.
    pub(super) fn uint(&self, cell: Cell) -> Result<Option<u64>, LbmError> {
        match self.value(cell) {
            None => Ok(None),
            Some(Value::Uint(value)) => Ok(Some(value)),
            Some(_) => Err(LbmError::new(cell, Problem::WrongType)),
        }
    }

    /// Returns an unsigned integer of at most `max`, if the cell is there.
    pub(super) fn uint_up_to(&self, cell: Cell, max: u64) -> Result<Option<u64>, LbmError> {
        match self.uint(cell)? {
            Some(value) if value > max => Err(LbmError::new(cell, Problem::OutOfRange)),
            value => Ok(value),
        }
    }

    /// Returns a byte string, if the cell is there.
    pub(super) fn bytes(&self, cell: Cell) -> Result<Option<&'a [u8]>, LbmError> {
        match self.value(cell) {
            None => Ok(None),
            Some(Value::Bytes(value)) => Ok(Some(value)),
            Some(_) => Err(LbmError::new(cell, Problem::WrongType)),
        }
    }

    /// Returns a byte string of exactly `N` bytes, if the cell is there.
    pub(super) fn array<const N: usize>(
        &self,
        cell: Cell,
    ) -> Result<Option<&'a [u8; N]>, LbmError> {
        match self.bytes(cell)? {
            None => Ok(None),
            Some(value) => match value.try_into() {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(LbmError::new(cell, Problem::OutOfRange)),
            },
        }
    }

    /// Refuses the message if one of these cells is there.
    pub(super) fn forbid(&self, cells: &[Cell]) -> Result<(), LbmError> {
        match cells.iter().find(|cell| self.value(**cell).is_some()) {
            Some(cell) => Err(LbmError::new(*cell, Problem::Forbidden)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Map<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // values may be secret (cell 0x06)
        f.debug_set().entries(self.cells().iter().map(|(cell, _)| cell)).finish()
    }
}

/// Turns an absent cell into an error.
pub(super) fn must<T>(cell: Cell, value: Option<T>) -> Result<T, LbmError> {
    value.ok_or(LbmError::new(cell, Problem::Missing))
}

/// Reads the version, the first cell, also where what follows it is malformed, so that another
/// version can be told from nonsense.
///
/// # Errors
/// [`LbmError`] if there is no map, its first cell is not `0x01`, or the value is no integer
/// below 128.
pub fn read_version(bytes: &[u8]) -> Result<u8, LbmError> {
    let mut reader = Reader::new(bytes);
    if reader.map_head()? == 0 {
        return Err(LbmError::new(Cell::VERSION, Problem::Missing));
    }
    if reader.key()? != Cell::VERSION.0 {
        return Err(LbmError::new(Cell::VERSION, Problem::Missing));
    }
    match reader.value() {
        Ok(Value::Uint(version)) if version < 0x80 => Ok(version as u8),
        Ok(Value::Uint(_)) => Err(LbmError::new(Cell::VERSION, Problem::OutOfRange)),
        Ok(_) => Err(LbmError::new(Cell::VERSION, Problem::WrongType)),
        Err(problem) => Err(LbmError::new(Cell::VERSION, problem)),
    }
}

const MAJOR_UINT: u8 = 0;
const MAJOR_BYTES: u8 = 2;
const MAJOR_ARRAY: u8 = 4;
const MAJOR_MAP: u8 = 5;

/// minicbor's decoder behind a check of every head.
struct Reader<'a>(Decoder<'a>);

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self(Decoder::new(bytes))
    }

    fn position(&self) -> usize {
        self.0.position()
    }

    /// Checks the head that comes next, without moving: its major type, and that its argument is
    /// there in its shortest form.
    fn head(&self) -> Result<(u8, u64), Problem> {
        let rest = &self.0.input()[self.0.position()..];
        let (&first, rest) = rest.split_first().ok_or(Problem::Truncated)?;
        let (major, info) = (first >> 5, first & 0x1f);
        let extra = match info {
            0..=23 => return Ok((major, u64::from(info))),
            24..=27 => 1usize << (info - 24),
            // 28 to 30 are reserved, 31 is indefinite
            _ => return Err(Problem::NotShortest),
        };
        let argument = rest.get(..extra).ok_or(Problem::Truncated)?;
        let argument = argument.iter().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        let least = match extra {
            1 => 24,
            2 => 1 << 8,
            4 => 1 << 16,
            _ => 1 << 32,
        };
        if argument < least { Err(Problem::NotShortest) } else { Ok((major, argument)) }
    }

    fn map_head(&mut self) -> Result<usize, LbmError> {
        let (major, count) = self.head().map_err(LbmError::unnamed)?;
        if major != MAJOR_MAP || count > MAX_CELLS as u64 {
            return Err(LbmError::unnamed(Problem::NotAMap));
        }
        match self.0.map() {
            Ok(Some(count)) => Ok(count as usize),
            _ => Err(LbmError::unnamed(Problem::NotAMap)),
        }
    }

    fn key(&mut self) -> Result<u64, LbmError> {
        let (major, _) = self.head().map_err(LbmError::unnamed)?;
        if major != MAJOR_UINT {
            return Err(LbmError::unnamed(Problem::BadKey));
        }
        self.0.u64().map_err(|_| LbmError::unnamed(Problem::Truncated))
    }

    fn value(&mut self) -> Result<Value<'a>, Problem> {
        let (major, argument) = self.head()?;
        match major {
            MAJOR_UINT => self.0.u64().map(Value::Uint).map_err(|_| Problem::Truncated),
            MAJOR_BYTES => self.0.bytes().map(Value::Bytes).map_err(|_| Problem::Truncated),
            MAJOR_ARRAY => {
                if argument == 0 || argument > MAX_ITEMS as u64 {
                    return Err(Problem::BadValue);
                }
                self.0.array().map_err(|_| Problem::Truncated)?;
                let start = self.0.position();
                for _ in 0..argument {
                    if self.head()?.0 != MAJOR_UINT {
                        return Err(Problem::BadValue);
                    }
                    self.0.u64().map_err(|_| Problem::Truncated)?;
                }
                let encoded = &self.0.input()[start..self.0.position()];
                Ok(Value::Array(Items { len: argument as u8, encoded }))
            }
            _ => Err(Problem::BadValue),
        }
    }
}
