// What is chosen for a key when it is made and when it is changed: roles and limits.
import { Checkbox, TextField } from "../../ui/field";
import { ROLES, type Role } from "./role-words";

export interface KeyFieldsValue {
  roles: Role[];
  requests: string;
  tokens: string;
}

/** The limits as the gateway takes them; empty means none. */
export function limitsOf({ requests, tokens }: KeyFieldsValue) {
  return {
    ...(requests.trim() ? { requests_per_minute: Number(requests) } : {}),
    ...(tokens.trim() ? { tokens_per_day: Number(tokens) } : {}),
  };
}

export function KeyFields({
  value,
  onChange,
}: {
  value: KeyFieldsValue;
  onChange: (value: KeyFieldsValue) => void;
}) {
  const { roles } = value;
  return (
    <>
      <fieldset className="roles">
        <legend className="field-label">Roles</legend>
        {ROLES.map(([role, text]) => (
          <Checkbox
            key={role}
            checked={roles.includes(role)}
            onChange={(on) =>
              onChange({ ...value, roles: on ? [...roles, role] : roles.filter((one) => one !== role) })
            }
          >
            {role} <span className="quiet">{text}</span>
          </Checkbox>
        ))}
      </fieldset>
      <div className="key-limits">
        <TextField
          label="Requests a minute"
          type="number"
          min={0}
          step={1}
          placeholder="no limit"
          value={value.requests}
          onChange={(event) => onChange({ ...value, requests: event.target.value })}
        />
        <TextField
          label="Tokens a day"
          type="number"
          min={0}
          step={1}
          placeholder="no limit"
          hint="Read and written, by UTC."
          value={value.tokens}
          onChange={(event) => onChange({ ...value, tokens: event.target.value })}
        />
      </div>
    </>
  );
}
