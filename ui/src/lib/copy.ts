import { toast } from "@/ui/Toasts";

/** Puts a text into the clipboard and says so; pages that are not served securely may not, which is said too. */
export async function copyText(text: string, said: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    toast.ok(said);
    return true;
  } catch {
    toast.calm("The browser does not let this page copy: select the text instead.");
    return false;
  }
}
