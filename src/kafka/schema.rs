//! The layout of every request that may be served, as far as lengths go: what stands where in which version.
//!
//! A table beside the decoder's own knowledge, so that bytes can be measured before anything is made of them (see
//! [`super::prescan`]). A test makes requests from this table at random and has the decoder read them to the last byte,
//! so the two cannot part. Whether a text or list may be null is left to the decoder.

/// What a field is, without its name.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// So many bytes.
    Fixed(usize),
    Text,
    Bytes,
    /// A list of what has no fields.
    Values(&'static Kind),
    /// A list of structures.
    Structs(&'static [Field]),
    /// One structure.
    Struct(&'static [Field]),
    /// One structure or none, told by a byte before it.
    Optional(&'static [Field]),
}

/// A field and the versions that have it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub kind: Kind,
    pub from: i16,
    pub until: i16,
    /// Among the tagged fields, by this number.
    pub tag: Option<u32>,
}

impl Field {
    const fn new(kind: Kind) -> Field {
        Field { kind, from: 0, until: i16::MAX, tag: None }
    }

    const fn from(mut self, version: i16) -> Field {
        self.from = version;
        self
    }

    const fn until(mut self, version: i16) -> Field {
        self.until = version;
        self
    }

    const fn tag(mut self, number: u32) -> Field {
        self.tag = Some(number);
        self
    }

    /// Whether it is there in that version.
    pub fn is_in(&self, version: i16) -> bool {
        self.from <= version && version <= self.until
    }
}

const INT8: Field = Field::new(Kind::Fixed(1));
const INT16: Field = Field::new(Kind::Fixed(2));
const INT32: Field = Field::new(Kind::Fixed(4));
const INT64: Field = Field::new(Kind::Fixed(8));
const UUID: Field = Field::new(Kind::Fixed(16));
const TEXT: Field = Field::new(Kind::Text);
const BYTES: Field = Field::new(Kind::Bytes);
const INT32S: Field = Field::new(Kind::Values(&INT32.kind));
const TEXTS: Field = Field::new(Kind::Values(&TEXT.kind));

const fn structs(fields: &'static [Field]) -> Field {
    Field::new(Kind::Structs(fields))
}

/// The fields of an API's request.
pub fn of(api_key: i16) -> Option<&'static [Field]> {
    REQUESTS.iter().find(|(key, _)| *key == api_key).map(|(_, fields)| *fields)
}

/// Topics, each with the numbers of some partitions.
const PARTITIONS_OF_TOPICS: Field = structs(&[TEXT, INT32S]);

/// By key: names of the APIs stand beside their handlers.
const REQUESTS: &[(i16, &[Field])] = &[
    (0, &[TEXT.from(3), INT16, INT32, structs(&[TEXT.until(12), UUID.from(13), structs(&[INT32, BYTES])])]),
    (
        1,
        &[
            INT32.until(14),
            INT32,
            INT32,
            INT32,
            INT8,
            INT32.from(7),
            INT32.from(7),
            structs(&[
                TEXT.until(12),
                UUID.from(13),
                structs(&[INT32, INT32.from(9), INT64, INT32.from(12), INT64.from(5), INT32, UUID.from(17).tag(0)]),
            ]),
            structs(&[TEXT.until(12), UUID.from(13), INT32S]).from(7),
            TEXT.from(11),
            TEXT.tag(0),
            Field::new(Kind::Struct(&[INT32, INT64])).from(15).tag(1),
        ],
    ),
    (2, &[INT32, INT8.from(2), structs(&[TEXT, structs(&[INT32, INT32.from(4), INT64])]), INT32.from(10)]),
    (3, &[structs(&[UUID.from(10), TEXT]), INT8.from(4), INT8.from(8).until(10), INT8.from(8)]),
    (
        8,
        &[
            TEXT,
            INT32,
            TEXT,
            TEXT.from(7),
            INT64.until(4),
            structs(&[TEXT, structs(&[INT32, INT64, INT32.from(6), TEXT])]),
        ],
    ),
    (
        9,
        &[
            TEXT.until(7),
            PARTITIONS_OF_TOPICS.until(7),
            structs(&[TEXT, TEXT.from(9), INT32.from(9), PARTITIONS_OF_TOPICS]).from(8),
            INT8.from(7),
        ],
    ),
    (10, &[TEXT.until(3), INT8.from(1), TEXTS.from(4)]),
    (11, &[TEXT, INT32, INT32.from(1), TEXT, TEXT.from(5), TEXT, structs(&[TEXT, BYTES]), TEXT.from(8)]),
    (12, &[TEXT, INT32, TEXT, TEXT.from(3)]),
    (13, &[TEXT, TEXT.until(2), structs(&[TEXT, TEXT, TEXT.from(5)]).from(3)]),
    (14, &[TEXT, INT32, TEXT, TEXT.from(3), TEXT.from(5), TEXT.from(5), structs(&[TEXT, BYTES])]),
    (15, &[TEXTS, INT8.from(3)]),
    (16, &[TEXTS.from(4), TEXTS.from(5)]),
    (18, &[TEXT.from(3), TEXT.from(3)]),
    (19, &[structs(&[TEXT, INT32, INT16, structs(&[INT32, INT32S]), structs(&[TEXT, TEXT])]), INT32, INT8]),
    (20, &[structs(&[TEXT, UUID]).from(6), TEXTS.until(5), INT32]),
    (21, &[structs(&[TEXT, structs(&[INT32, INT64])]), INT32]),
    (22, &[TEXT, INT32, INT64.from(3), INT16.from(3)]),
    (23, &[INT32.from(3), structs(&[TEXT, structs(&[INT32, INT32, INT32])])]),
    (32, &[structs(&[INT8, TEXT, TEXTS]), INT8, INT8.from(3)]),
    (33, &[structs(&[INT8, TEXT, structs(&[TEXT, TEXT])]), INT8]),
    (35, &[PARTITIONS_OF_TOPICS]),
    (37, &[structs(&[TEXT, INT32, structs(&[INT32S])]), INT32, INT8]),
    (42, &[TEXTS]),
    (43, &[INT8.from(1), PARTITIONS_OF_TOPICS, INT32]),
    (44, &[structs(&[INT8, TEXT, structs(&[TEXT, INT8, TEXT])]), INT8]),
    (45, &[INT32, INT8.from(1), structs(&[TEXT, structs(&[INT32, INT32S])])]),
    (46, &[INT32, PARTITIONS_OF_TOPICS]),
    (47, &[TEXT, structs(&[TEXT, structs(&[INT32])])]),
    (55, &[structs(&[TEXT, structs(&[INT32])])]),
    (60, &[INT8, INT8.from(1), INT8.from(2)]),
    (61, &[PARTITIONS_OF_TOPICS]),
    (75, &[structs(&[TEXT]), INT32, Field::new(Kind::Optional(&[TEXT, INT32]))]),
];
