-- Tokens that have a place in a status list, until they run out. place counts up for ever. issued_at is in seconds, as
-- in the token. withdrawn is the serial of the control plane at which the token was withdrawn.
CREATE TABLE issued_tokens (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    jti TEXT NOT NULL,
    sid TEXT NOT NULL,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    withdrawn BIGINT
);
CREATE INDEX issued_tokens_by_jti ON issued_tokens (jti);
CREATE INDEX issued_tokens_of_login ON issued_tokens (sid);
CREATE INDEX issued_tokens_by_expiry ON issued_tokens (expires_at);
CREATE INDEX issued_tokens_withdrawn ON issued_tokens (withdrawn, place) WHERE withdrawn IS NOT NULL;

-- How many tokens a withdrawal has marked in lists; what marked any need not be told by name.
ALTER TABLE revocations ADD COLUMN listed BIGINT NOT NULL DEFAULT 0;
