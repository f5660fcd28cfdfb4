/** What a new rule begins as. Each loads and finds the line of `SAMPLE_LINE`. */
export const NEW_RULE = `# A search line in \`when\`; fields, words, /patterns/, AND, OR, NOT.
id: own.root-login-refused
title: Login as root refused
description: Somebody tries passwords of root.
severity: warning
when: '"failed password" root'
threshold: {count: 1, within: 5m}
mitigation:
  - Look where the attempts come from
tests:
  match:
    - "sshd[812]: Failed password for root from 203.0.113.5 port 4711 ssh2"
  no_match:
    - "sshd[812]: Accepted publickey for deploy from 198.51.100.7 port 4711 ssh2"
`;

/** The same as a Sigma rule. */
export const NEW_SIGMA = `title: Login as root refused
id: own.root-login-refused
status: experimental
description: Somebody tries passwords of root.
logsource:
  product: linux
  service: sshd
detection:
  selection:
    message|contains|all:
      - failed password
      - root
  condition: selection
level: medium
tags:
  - attack.t1110
`;

/** A line that both find. */
export const SAMPLE_LINE = "Nov 27 10:00:01 host sshd[812]: Failed password for root from 203.0.113.5 port 4711 ssh2";

/** The text of a rule under an id of one's own, to begin another from. */
export function asOwn(yaml: string, id: string): string {
  return yaml.replace(/^(\s*-?\s*id:\s*).*$/m, `$1own.${id.replace(/^own\./, "")}${/^own\./.test(id) ? "-2" : ""}`);
}
