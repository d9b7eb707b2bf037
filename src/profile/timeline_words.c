/*
 * timeline_words.c
 *		Words that need not be spelled out in a timeline: standard names of events, and properties and values
 *		that often come with them.
 *
 * In bytewise order.  The list is part of format version 1: a change of it would break every stored timeline.
 */
#include "postgres.h"

#include "profile/timeline.h"

/* clang-format off */
#define WORD(text) {text, sizeof(text) - 1}

const CdpWord cdp_timeline_known_words[CDP_TIMELINE_KNOWN_WORDS] = {
	WORD("$autocapture"), WORD("$identify"), WORD("$pageleave"), WORD("$pageview"), WORD("$screen"),
	WORD("Account Created"), WORD("Account Deleted"), WORD("Application Backgrounded"), WORD("Application Crashed"),
	WORD("Application Foregrounded"), WORD("Application Installed"), WORD("Application Opened"),
	WORD("Application Uninstalled"), WORD("Application Updated"), WORD("CHF"), WORD("Cart Viewed"),
	WORD("Checkout Started"), WORD("Checkout Step Completed"), WORD("Checkout Step Viewed"), WORD("Coupon Applied"),
	WORD("Coupon Denied"), WORD("Coupon Entered"), WORD("Coupon Removed"), WORD("Deep Link Opened"), WORD("EUR"),
	WORD("Email Bounced"), WORD("Email Delivered"), WORD("Email Link Clicked"), WORD("Email Marked as Spam"),
	WORD("Email Opened"), WORD("Form Submitted"), WORD("GBP"), WORD("Home"), WORD("Install Attributed"),
	WORD("Invite Sent"), WORD("JPY"), WORD("Order Cancelled"), WORD("Order Completed"), WORD("Order Refunded"),
	WORD("Order Updated"), WORD("Payment Info Entered"), WORD("Product Added"), WORD("Product Added to Wishlist"),
	WORD("Product Clicked"), WORD("Product List Filtered"), WORD("Product List Viewed"), WORD("Product Removed"),
	WORD("Product Removed from Wishlist"), WORD("Product Reviewed"), WORD("Product Shared"), WORD("Product Viewed"),
	WORD("Products Searched"), WORD("Promotion Clicked"), WORD("Promotion Viewed"),
	WORD("Push Notification Bounced"), WORD("Push Notification Received"), WORD("Push Notification Tapped"),
	WORD("Signed In"), WORD("Signed Out"), WORD("Signed Up"), WORD("Subscription Cancelled"),
	WORD("Subscription Started"), WORD("Trial Ended"), WORD("Trial Started"), WORD("USD"), WORD("Unsubscribed"),
	WORD("Video Content Completed"), WORD("Video Content Started"), WORD("Video Playback Completed"),
	WORD("Video Playback Started"), WORD("Wishlist Product Added to Cart"), WORD("add_payment_info"),
	WORD("add_shipping_info"), WORD("add_to_cart"), WORD("add_to_wishlist"), WORD("alias"), WORD("amount"),
	WORD("begin_checkout"), WORD("brand"), WORD("campaign"), WORD("category"), WORD("channel"), WORD("city"),
	WORD("click"), WORD("content"), WORD("country"), WORD("coupon"), WORD("currency"), WORD("desktop"),
	WORD("device"), WORD("discount"), WORD("email"), WORD("file_download"), WORD("first_visit"), WORD("form_start"),
	WORD("form_submit"), WORD("generate_lead"), WORD("group"), WORD("identify"), WORD("item_id"), WORD("language"),
	WORD("login"), WORD("medium"), WORD("mobile"), WORD("name"), WORD("order_id"), WORD("organic"), WORD("page"),
	WORD("page_view"), WORD("path"), WORD("plan"), WORD("platform"), WORD("position"), WORD("price"),
	WORD("product_id"), WORD("purchase"), WORD("quantity"), WORD("rating"), WORD("reason"), WORD("referral"),
	WORD("referrer"), WORD("refund"), WORD("remove_from_cart"), WORD("revenue"), WORD("screen"), WORD("screen_view"),
	WORD("scroll"), WORD("search"), WORD("select_content"), WORD("select_item"), WORD("session_start"),
	WORD("share"), WORD("shipping"), WORD("sign_up"), WORD("size"), WORD("sku"), WORD("source"), WORD("status"),
	WORD("store"), WORD("subtotal"), WORD("tablet"), WORD("tax"), WORD("term"), WORD("title"), WORD("total"),
	WORD("track"), WORD("type"), WORD("url"), WORD("user_engagement"), WORD("value"), WORD("variant"),
	WORD("video_complete"), WORD("video_progress"), WORD("video_start"), WORD("view_cart"), WORD("view_item"),
	WORD("view_item_list"), WORD("view_search_results"), WORD("web")
};
/* clang-format on */

int
cdp_timeline_known_word(const char *text, uint32 length)
{
	int low = 0;
	int high = CDP_TIMELINE_KNOWN_WORDS;

	while (low < high)
	{
		int middle = (low + high) / 2;
		const CdpWord *word = &cdp_timeline_known_words[middle];
		int c = cdp_timeline_compare_words(word->text, word->length, text, length);

		if (c == 0)
			return middle;
		if (c < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return -1;
}
