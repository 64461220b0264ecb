//! A gate between two Postfixes, as SMTPD_PROXY_README has it: the first asks who may send, the
//! second trusts the gate.
