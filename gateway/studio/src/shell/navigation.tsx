// The pages that the caller's roles open.
import { Link, type LinkProps } from "@tanstack/react-router";
import {
  Blocks,
  Database,
  GraduationCap,
  House,
  type LucideIcon,
  MessageSquareText,
  Settings,
  ShieldCheck,
} from "lucide-react";
import { type Scope, useCaller } from "../api/roles";

interface Place {
  to: NonNullable<LinkProps["to"]>;
  text: string;
  icon: LucideIcon;
  needs?: Scope;
}

const PLACES: Place[] = [
  { to: "/", text: "Home", icon: House },
  { to: "/chat", text: "Chat", icon: MessageSquareText, needs: "applications" },
  { to: "/datanets", text: "Datanets", icon: Database },
  { to: "/train", text: "Train", icon: GraduationCap, needs: "trainers" },
  { to: "/adapters", text: "Adapters", icon: Blocks, needs: "applications" },
  { to: "/audit", text: "Audit", icon: ShieldCheck },
  { to: "/admin", text: "Admin", icon: Settings, needs: "auditors" },
];

export function Navigation() {
  const caller = useCaller();
  return (
    <nav aria-label="Pages">
      <ul className="nav">
        {PLACES.filter(({ needs }) => !needs || caller?.may(needs)).map(({ to, text, icon: Icon }) => (
          <li key={to}>
            <Link to={to} className="nav-link" activeOptions={{ exact: to === "/", includeSearch: false }}>
              <Icon size={17} aria-hidden />
              {text}
            </Link>
          </li>
        ))}
      </ul>
    </nav>
  );
}
