// What each role opens, and who has it.
import { useQuery } from "@tanstack/react-query";
import { keys } from "../../api/queries";
import { Badge, ErrorNote, Waiting } from "../../ui/feedback";
import { plural } from "../../ui/text";
import { ROLES } from "./role-words";

export function Roles() {
  const { data, error } = useQuery(keys);
  if (error) return <ErrorNote error={error} />;
  if (!data) return <Waiting lines={6} />;
  const now = new Date().toISOString();
  const valid = data.filter((key) => !key.revoked_at && (!key.expires_at || key.expires_at > now));
  return (
    <div className="stack">
      <p className="quiet">
        A key may have several roles. Change them under API keys; for people who sign in with an identity
        provider its tokens say them.
      </p>
      <ul className="role-cards">
        {ROLES.map(([role, text, may]) => {
          const holders = valid.filter((key) => key.roles.includes(role));
          const subjects = [...new Set(holders.map((key) => key.subject))].sort();
          return (
            <li key={role} className="card card-pad stack-s">
              <div className="row row-wrap">
                <h2>{role}</h2>
                <span className="quiet small push">{plural(holders.length, "valid key")}</span>
              </div>
              <p className="quiet">{text}</p>
              <ul className="role-may">
                {may.map((one) => (
                  <li key={one}>{one}</li>
                ))}
              </ul>
              {subjects.length > 0 && (
                <div className="row row-wrap">
                  {subjects.slice(0, SHOWN).map((subject) => (
                    <Badge key={subject}>{subject}</Badge>
                  ))}
                  {subjects.length > SHOWN && (
                    <span className="quiet small">and {subjects.length - SHOWN} more</span>
                  )}
                </div>
              )}
            </li>
          );
        })}
      </ul>
    </div>
  );
}

/** Holders that a card names. */
const SHOWN = 8;
