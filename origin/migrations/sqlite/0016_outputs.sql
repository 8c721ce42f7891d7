-- One index for both: a user's outputs in their order, and the sum of their bytes.
DROP INDEX outputs_of_user;
DROP INDEX outputs_bytes_of_user;
CREATE INDEX outputs_of_user ON outputs (user_id, id, bytes);
