/** What a new rule begins as: a Sigma rule that loads. */
export const NEW_RULE = `title: Many refused logins of one account
id: own.refused-logins
status: experimental
description: Says what it finds and why that matters.
logsource:
  category: authentication
detection:
  selection:
    message|contains:
      - failed password
      - authentication failure
  condition: selection
level: medium
tags:
  - attack.t1110
`;
