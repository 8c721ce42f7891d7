-- Keys that origins sign with. jwk is the public half, sealed the private one under the master key. Which state a key
-- has follows from its times, in milliseconds: next until active_from, active until retired_at, retired until ends_at.
-- serial is that of the control plane when the key was made: whoever has come as far holds it.
CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY,
    purpose TEXT NOT NULL,
    jwk TEXT NOT NULL,
    sealed TEXT NOT NULL,
    serial BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    active_from BIGINT,
    retired_at BIGINT,
    ends_at BIGINT
);
-- One key at a time signs, and one at a time is to follow.
CREATE UNIQUE INDEX signing_keys_active ON signing_keys (purpose) WHERE active_from IS NOT NULL AND retired_at IS NULL;
CREATE UNIQUE INDEX signing_keys_next ON signing_keys (purpose) WHERE active_from IS NULL;
