// What stays while pages change: navigation, who is signed in, the theme. Signed out, there is only the way in.
import { useQuery } from "@tanstack/react-query";
import { Outlet, useLocation } from "@tanstack/react-router";
import { LogOut, Menu as MenuIcon } from "lucide-react";
import { Suspense, useEffect, useRef, useState } from "react";
import { me, queryClient } from "../api/queries";
import { useSession } from "../api/session";
import { ask, leave } from "../api/sign-in";
import { SignIn } from "../pages/signin/sign-in";
import { Button, IconButton } from "../ui/button";
import { Sheet } from "../ui/dialog";
import { ErrorNote, Waiting } from "../ui/feedback";
import { Logo } from "./logo";
import { Navigation } from "./navigation";
import { ThemeMenu } from "./theme";

export function Root() {
  const session = useSession();
  useEffect(() => {
    if (session === "unknown") void ask();
    // Whoever comes next must not see what was fetched for whoever was here.
    if (session === "none") queryClient.clear();
  }, [session]);
  if (session === "unknown") return <main aria-busy="true" />;
  return session === "none" ? <SignIn /> : <SignedIn />;
}

function SignedIn() {
  const { data, error, refetch } = useQuery(me);
  const [open, setOpen] = useState(false);
  const [stuck, setStuck] = useState<unknown>();
  const main = useRef<HTMLElement>(null);
  const { pathname } = useLocation();
  const before = useRef(pathname);
  // Moving to another page puts the keyboard and the screen reader at its start, as a page load would.
  useEffect(() => {
    setOpen(false);
    if (before.current !== pathname) main.current?.focus();
    before.current = pathname;
  }, [pathname]);
  const side = (
    <>
      <Navigation />
      <footer className="side-foot">
        <div className="side-who">
          <span className="truncate">{data?.subject ?? "…"}</span>
          <span className="truncate quiet small">{data?.roles.join(", ")}</span>
        </div>
        <ThemeMenu />
        <IconButton label="Sign out" small onClick={() => leave().catch(setStuck)}>
          <LogOut size={16} />
        </IconButton>
      </footer>
    </>
  );
  return (
    <div className="shell">
      <a className="skip" href="#main">
        Skip to the page
      </a>
      <header className="side">
        <Brand />
        {side}
      </header>
      <header className="top">
        <IconButton label="Menu" onClick={() => setOpen(true)}>
          <MenuIcon size={18} />
        </IconButton>
        <Brand />
      </header>
      <Sheet open={open} onClose={() => setOpen(false)} title="Menu" left>
        <div className="side-sheet">
          <Brand />
          {side}
        </div>
      </Sheet>
      <main id="main" ref={main} tabIndex={-1}>
        {stuck ? (
          <div className="page stack">
            <ErrorNote error={stuck} />
            <div>
              <Button onClick={() => leave().catch(setStuck)}>Sign out again</Button>
            </div>
          </div>
        ) : error ? (
          <div className="page stack">
            <ErrorNote error={error} />
            <div>
              <Button onClick={() => refetch()}>Try again</Button>
            </div>
          </div>
        ) : (
          <Suspense fallback={<PageWaiting />}>
            <Outlet />
          </Suspense>
        )}
      </main>
    </div>
  );
}

function PageWaiting() {
  return (
    <div className="page">
      <Waiting lines={5} />
    </div>
  );
}

function Brand() {
  return (
    <div className="brand">
      <Logo />
      <span>Cairn</span>
    </div>
  );
}
