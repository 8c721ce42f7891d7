-- Voices that users made of recordings. The recording is a blob of the same id.
CREATE TABLE voices (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    -- Counts from 0 up to what the role allows, so that the bound is the table's own.
    slot BIGINT NOT NULL,
    name TEXT NOT NULL,
    transcript TEXT NOT NULL,
    language TEXT,
    -- The sentence that the user agreed to, and when.
    consent TEXT NOT NULL,
    consented_at BIGINT NOT NULL,
    frames BIGINT NOT NULL,
    sample_rate BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX voices_of_user ON voices (user_id, id);
CREATE UNIQUE INDEX voices_by_name ON voices (user_id, name);
CREATE UNIQUE INDEX voices_by_slot ON voices (user_id, slot);
