//! A key as bytes: a version byte, then a frozen struct. A field is never added to a frozen struct: a new version is.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Fingerprint;
use crate::ids::{CallId, OperationId, VendorId};

const V1: u8 = 1;

/// Frozen. The order of the fields is the format.
#[derive(Serialize, Deserialize)]
struct KeyV1 {
    vendor: String,
    call: u128,
    fingerprint: [u8; 32],
    at_ms: i64,
    stage: StageV1,
}

/// Frozen, and so is the order of the variants.
#[derive(Serialize, Deserialize)]
enum StageV1 {
    Claimed { operation: String },
    Done { answer: AnswerV1 },
}

/// Frozen, and so is the order of the variants.
#[derive(Serialize, Deserialize)]
enum AnswerV1 {
    NotKept,
    Here(Vec<u8>),
    InParts(u16),
}

/// What stands on disk for a key, but for the parts of a long answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) vendor: VendorId,
    pub(super) call: CallId,
    pub(super) fingerprint: Fingerprint,
    /// When it was claimed, or done.
    pub(super) at: Timestamp,
    pub(super) stage: Stage,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// Written before the first byte leaves. Found at a start, it may have happened.
    Claimed {
        operation: OperationId,
    },
    Done {
        answer: Kept,
    },
}

/// Where an answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kept {
    /// Nowhere: it was too long.
    Not,
    /// In the record.
    Here(Vec<u8>),
    /// In so many rows behind it.
    InParts(u16),
}

fn strange(what: impl ToString) -> String {
    what.to_string()
}

pub(super) fn encode(record: &Record) -> Result<Vec<u8>, String> {
    let stage = match &record.stage {
        Stage::Claimed { operation } => StageV1::Claimed { operation: operation.to_string() },
        Stage::Done { answer } => StageV1::Done {
            answer: match answer {
                Kept::Not => AnswerV1::NotKept,
                Kept::Here(bytes) => AnswerV1::Here(bytes.clone()),
                Kept::InParts(parts) => AnswerV1::InParts(*parts),
            },
        },
    };
    let v1 = KeyV1 {
        vendor: record.vendor.to_string(),
        call: record.call.0.as_u128(),
        fingerprint: record.fingerprint.0,
        at_ms: record.at.as_millisecond(),
        stage,
    };
    postcard::to_extend(&v1, vec![V1]).map_err(strange)
}

/// What it says, or why it cannot be read: it is left where it is then, never thrown away.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, String> {
    let v1: KeyV1 = match bytes.split_first() {
        Some((&V1, rest)) => match postcard::take_from_bytes(rest).map_err(strange)? {
            (v1, []) => v1,
            (_, more) => return Err(format!("{} bytes too many", more.len())),
        },
        Some((version, _)) => return Err(format!("record version {version} is not known to this version of mainstay")),
        None => return Err("empty".into()),
    };
    let stage = match v1.stage {
        StageV1::Claimed { operation } => Stage::Claimed { operation: OperationId::new(&operation).map_err(strange)? },
        StageV1::Done { answer } => Stage::Done {
            answer: match answer {
                AnswerV1::NotKept => Kept::Not,
                AnswerV1::Here(bytes) => Kept::Here(bytes),
                AnswerV1::InParts(parts) => Kept::InParts(parts),
            },
        },
    };
    Ok(Record {
        vendor: VendorId::new(&v1.vendor).map_err(strange)?,
        call: CallId(Uuid::from_u128(v1.call)),
        fingerprint: Fingerprint(v1.fingerprint),
        at: Timestamp::from_millisecond(v1.at_ms).map_err(strange)?,
        stage,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(stage: Stage) -> Record {
        Record {
            vendor: VendorId::new("retell").unwrap(),
            call: CallId(Uuid::from_u128(7)),
            fingerprint: Fingerprint([9; 32]),
            at: Timestamp::from_millisecond(1_800_000_000_123).unwrap(),
            stage,
        }
    }

    fn each() -> [Record; 4] {
        let operation = OperationId::new("create-phone-call").unwrap();
        [
            Stage::Claimed { operation },
            Stage::Done { answer: Kept::Not },
            Stage::Done { answer: Kept::Here(b"{\"body\":1}".to_vec()) },
            Stage::Done { answer: Kept::InParts(3) },
        ]
        .map(record)
    }

    #[test]
    fn a_record_reads_back_as_it_was() {
        for record in each() {
            assert_eq!(decode(&encode(&record).unwrap()), Ok(record));
        }
    }

    /// Files as version 1 wrote them. They stay, and stay readable.
    #[test]
    fn keys_of_version_1_are_read_for_ever() {
        let files: [&[u8]; 4] = [
            include_bytes!("../../tests/fixtures/key_v1_claimed.bin"),
            include_bytes!("../../tests/fixtures/key_v1_not_kept.bin"),
            include_bytes!("../../tests/fixtures/key_v1_here.bin"),
            include_bytes!("../../tests/fixtures/key_v1_in_parts.bin"),
        ];
        for (file, record) in files.into_iter().zip(each()) {
            assert_eq!(decode(file), Ok(record));
        }
    }

    #[test]
    fn what_cannot_be_read_is_said_and_no_panic() {
        let good = encode(&record(Stage::Done { answer: Kept::Not })).unwrap();
        assert!(decode(&[]).is_err());
        assert!(decode(&[9, 1, 2]).unwrap_err().contains("version 9"));
        assert!(decode(&[good.as_slice(), &[0]].concat()).unwrap_err().contains("too many"));
        for end in 1..good.len() {
            assert!(decode(good.get(..end).unwrap()).is_err(), "cut at {end}");
        }
    }
}
